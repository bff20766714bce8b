"""Write a trial's values as override strings that Hydra composes to exactly those values.

Nothing here imports Hydra before it must: the commands that only read a sweep print overrides too, and Hydra and its
ANTLR parser take a second to import.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from wandbsweep.errors import SpaceError

SWEEP_KEY = "sweep"

# What needs no quotes: it starts like a name or a path, and Hydra reads it as nothing but a string.
_BARE = re.compile(r"(?!(?:null|true|false|inf|nan)\Z)[A-Za-z_/][A-Za-z0-9_./-]*\Z", re.IGNORECASE)
_INTERPOLATION = re.compile(r"(\\*)\$\{")


class Slot(TypedDict, total=False):
    """One place in a trial's list of overrides: a fixed line, or a parameter."""

    line: str
    parameter: str
    key: str
    """How the parameter's key is written, with Hydra's ``+`` and the like."""
    raw: dict[str, str]
    """How its values were written, for those given on the command line; by ``canonical(value)``."""


def trial_overrides(slots: Sequence[Slot], params: Mapping[str, Any]) -> list[str]:
    """The override strings of one trial: the command line's, in its order, then the other parameters'."""
    placed = {slot["parameter"]: slot for slot in slots if "parameter" in slot}
    lines = [
        slot["line"] if "line" in slot else _assignment(slot, params[slot["parameter"]])
        for slot in slots
        if "line" in slot or slot["parameter"] in params
    ]
    for name, value in params.items():
        if name not in placed:
            # Hydra lays a mapping over the one that is there; a parameter's value is all there is to be.
            lines += [f"{name}=null"] if isinstance(value, Mapping) else []
            lines.append(f"{name}={encode(value)}")
    return lines


def encode(value: Any) -> str:
    """``value`` in Hydra's grammar, so that composing gives it back: equal, of the same type, never interpolated.

    Raises SpaceError for a mapping's key that the grammar has no way to write.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if _BARE.match(value) else _quote(_uninterpolated(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_encode_key(key)}:{encode(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(map(encode, value)) + "]"


def canonical(value: Any) -> str:
    """A text that tells values apart by type as well: 1, 1.0, true and "1" are four."""
    return json.dumps(value)


def is_own_key(line: str) -> bool:
    """Whether an override is about the sweep's configuration, and so about no single run."""
    key = re.split(r"[=@]", line.lstrip("+~"), maxsplit=1)[0]
    return key == SWEEP_KEY or key.startswith(f"{SWEEP_KEY}.")


def _assignment(slot: Slot, value: Any) -> str:
    text = slot.get("raw", {}).get(canonical(value))
    return f"{slot['key']}={encode(value) if text is None else text}"


def _encode_key(key: Any) -> str:
    """A mapping's key. Hydra's grammar has no quotes for keys, only backslashes for some characters."""
    if isinstance(key, str) and _BARE.match(key):
        return key
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    text = re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", key) if isinstance(key, str) else encode(key)
    try:
        read = OverridesParser.create().parse_rule(text, "dictKey")
    except HydraException:
        read = None
    if type(read) is not type(key) or read != key:
        raise SpaceError(
            f"The key {key!r} of a mapping cannot be written in Hydra's override grammar: it takes text of letters, "
            "digits, spaces and _-+./\\$%*@?|()[]{}:=, that does not read as a number, true, false or null"
        )
    return text


def _quote(text: str) -> str:
    """``text`` as a quoted string of Hydra's grammar: only backslashes before a quote, or at the end, are doubled."""
    doubled = re.sub(r"\\+(?='|\Z)", lambda match: match[0] * 2, text)
    return "'" + doubled.replace("'", r"\'") + "'"


def _uninterpolated(text: str) -> str:
    """OmegaConf reads ``${…}`` as an interpolation, unless the ``$`` is escaped, and then the backslashes before it."""
    return _INTERPOLATION.sub(lambda match: f"{match[1] * 2}\\${{", text)
