"""Formats a trial's values as override strings, which Hydra composes to exactly those values.

Nothing here imports Hydra: the commands that only read a sweep print overrides too, and Hydra and its ANTLR parser take
a second to import. ``tests/sweep/test_override_strings.py`` compares the result with Hydra's own parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from wandbsweep.errors import SpaceError

SWEEP_KEY = "sweep"
"""The application's key that holds a sweep configuration."""

# A string that needs no quotes: it starts like a name or a path, and Hydra's grammar reads nothing else in it.
_BARE = re.compile(r"(?!(?:null|true|false|inf|nan)\Z)[A-Za-z_/][A-Za-z0-9_./-]*\Z", re.IGNORECASE)
_INTERPOLATION = re.compile(r"(\\*)\$\{")

# Keys of mappings have no quotes in Hydra's grammar (OverrideLexer.g4): some characters are written as they are, some
# behind a backslash, and the others not at all. A key must not read as a number, a boolean or null either.
_ESCAPED = re.compile(r"([\\()\[\]{}:=, \t])")
_KEY = re.compile(r"[A-Za-z0-9_/\-+.$%*@?|\\()\[\]{}:=, \t]+")
_DIGITS = r"[0-9](?:_?[0-9])*"
_INTEGER = r"(?:0|[1-9](?:_?[0-9])*)"
_POINT = rf"(?:{_INTEGER}\.|{_INTEGER}?\.{_DIGITS})"
_NOT_TEXT = re.compile(
    rf"[+-]?(?:{_INTEGER}|{_POINT}|(?:{_INTEGER}|{_POINT})e[+-]?{_DIGITS}|inf|nan)|true|false|null", re.IGNORECASE
)


class OverrideSlot(TypedDict, total=False):
    """One place in a trial's list of overrides: a fixed line, or a parameter."""

    line: str
    """The fixed override. Slots of parameters have the other keys instead."""
    composed: str
    """How Hydra's own sweeper writes it, if that differs."""
    parameter: str
    key: str
    """The parameter's key as it was written, with Hydra's ``+`` and the like."""
    raw: dict[str, str]
    """How the values were written on the command line, by ``canonicalize(value)``."""
    null: str
    """The override for null, if the parameter chooses from a config group: ``~model``. Empty: no override."""


def format_overrides(slots: Sequence[OverrideSlot], params: Mapping[str, Any]) -> list[str]:
    """Return the overrides that compose one trial's configuration.

    Args:
        slots: The places of the command line's overrides, in its order.
        params: The trial's parameters, by dotted name. A slot whose parameter is missing is left out.

    Returns:
        The command line's overrides, then those of the parameters that have no slot.
    """
    placed = {slot["parameter"] for slot in slots if "parameter" in slot}
    lines = [
        slot.get("composed", slot["line"]) if "line" in slot else _format_assignment(slot, params[slot["parameter"]])
        for slot in slots
        if "line" in slot or slot["parameter"] in params
    ]
    lines = [line for line in lines if line]
    for name, value in params.items():
        if name not in placed:
            # Hydra merges a mapping into the existing one. Null removes that one first.
            lines += [f"{name}=null"] if isinstance(value, Mapping) else []
            lines.append(f"{name}={format_value(value)}")
    return lines


def format_value(value: Any, *, escape: bool = True) -> str:
    """Return ``value`` in Hydra's grammar: it composes to an equal value of the same type.

    With ``escape=False`` its interpolations are resolved, as in an override that a user writes.

    Raises SpaceError for a mapping's key that the grammar cannot express.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if _BARE.match(value) else _quote(_escape_interpolations(value) if escape else value)
    if isinstance(value, Mapping):
        items = (f"{_format_key(key)}:{format_value(item, escape=escape)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    return "[" + ",".join(format_value(item, escape=escape) for item in value) + "]"


def canonicalize(value: Any) -> str:
    """Return a text that is equal for equal values of one type only: 1, 1.0, true and "1" give four texts."""
    return json.dumps(value)


def is_sweep_key(line: str) -> bool:
    """Return whether an override belongs to the key ``sweep``, also by its package: ``+sweeps@sweep=first``."""
    return any(name == SWEEP_KEY or name.startswith(f"{SWEEP_KEY}.") for name in _split_key(line))


def is_for_sweeper(line: str) -> bool:
    """Return whether an override puts a group's choice into ``hydra.sweeper``: ``sweep@hydra.sweeper.sweep=x``.

    No single run has that key.
    """
    return re.match(r"hydra\.sweeper\b", _split_key(line)[1]) is not None


def _split_key(line: str) -> tuple[str, str]:
    """Return the key of an override, and the package in which its choice of a config group is put; empty: none."""
    key, _, package = line.lstrip("+~").partition("=")[0].partition("@")
    return key, package.rpartition(":")[2]


def _format_assignment(slot: OverrideSlot, value: Any) -> str:
    if value is None and "null" in slot:
        return slot["null"]
    text = slot.get("raw", {}).get(canonicalize(value))
    return f"{slot['key']}={format_value(value) if text is None else text}"


def _format_key(key: Any) -> str:
    if isinstance(key, str) and _BARE.match(key):
        return key
    if type(key) is str and _KEY.fullmatch(key) and not _NOT_TEXT.fullmatch(key):
        return _ESCAPED.sub(r"\\\1", key)
    if type(key) in (int, float, bool, type(None)) and key == key:  # NaN differs from itself
        return format_value(key)
    raise SpaceError(
        f"The key {key!r} of a mapping cannot be written in Hydra's override grammar: it takes text of letters, "
        "digits, spaces and _-+./\\$%*@?|()[]{}:=, that does not read as a number, true, false or null"
    )


def _quote(text: str) -> str:
    """Return ``text`` as a quoted string of Hydra's grammar.

    Backslashes are doubled only before a quote or at the end. Elsewhere they are text.
    """
    doubled = re.sub(r"\\+(?='|\Z)", lambda match: match[0] * 2, text)
    return "'" + doubled.replace("'", r"\'") + "'"


def _escape_interpolations(text: str) -> str:
    """Escape what OmegaConf would interpolate: the ``$`` of ``${…}``, and the backslashes before it."""
    return _INTERPOLATION.sub(lambda match: f"{match[1] * 2}\\${{", text)
