"""Hydra's override grammar on one side, a sweep's parameters on the other.

Reading: the command line's sweep overrides (comma lists, ``choice``, ``range``, ``interval``, ``tag``) become
parameters of the sweep configuration, its fixed overrides take parameters out of it. Writing: a trial's values become
override strings that compose to exactly those values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException

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


@dataclass(frozen=True)
class CommandLine:
    """The task overrides of one multirun command, sorted out."""

    slots: list[Slot] = field(default_factory=list)
    """In the order given."""
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The parameters that it defines, each as in a W&B sweep configuration."""
    lists: dict[str, list[Any]] = field(default_factory=dict)
    """Of those, the ones that are lists: their values, in order, repetitions included."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """The keys that it sets or deletes."""

    def fixed_lines(self) -> list[str]:
        return [slot["line"] for slot in self.slots if "line" in slot]


def read_command_line(arguments: Sequence[str], loader: ConfigLoader, *, own_key: bool = False) -> CommandLine:
    """Sort ``arguments`` (override strings) into parameters and fixed overrides; of equal keys the last one counts.

    ``own_key``: whether the key ``sweep`` is the application's, not a sweep's configuration.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    last = {_name(override): override for override in parsed}
    slots: list[Slot] = []
    parameters, lists, fixed = {}, {}, {}
    for name, override in last.items():
        if not override.is_sweep_override():
            fixed[name] = override.value()
            assert override.input_line is not None
            slots.append(Slot(line=override.input_line))
            continue
        if is_own_key(name) and not own_key:
            raise SpaceError(
                f"{override.input_line}: one command runs one sweep, so the sweep's own configuration cannot be swept "
                "over; start a sweep for each."
            )
        slot = Slot(parameter=name, key=override.get_key_element())
        if override.is_interval_sweep():
            parameters[name] = _from_interval(override)
        else:
            elements = list(override.sweep_iterator())
            values = [_plain(element) for element in elements]
            slot["raw"] = {canonical(v): Transformer.str(e) for v, e in zip(values, elements, strict=True)}
            lists[name] = values
            parameters[name] = _from_list(override, values)
        slots.append(slot)
    return CommandLine(slots, parameters, lists, fixed)


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
        return value if _BARE.match(value) else QuotedString(_uninterpolated(value), Quote.single).with_quotes()
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


def _uninterpolated(text: str) -> str:
    """OmegaConf reads ``${…}`` as an interpolation, unless the ``$`` is escaped, and then the backslashes before it."""
    return _INTERPOLATION.sub(lambda match: f"{match[1] * 2}\\${{", text)


def _name(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _plain(element: Any) -> Any:
    """A parsed element without Hydra's marks for quotes."""
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [_plain(item) for item in element]
    if isinstance(element, dict):
        return {_plain(key): _plain(item) for key, item in element.items()}
    return element


def _from_list(override: Override, values: list[Any]) -> dict[str, Any]:
    sweep = override.value()
    if (
        isinstance(sweep, RangeSweep)
        and (sweep.step, sweep.shuffle) == (1, False)
        and len(values) > 1
        and all(isinstance(value, int) for value in values)
    ):
        return {"distribution": "int_uniform", "min": values[0], "max": values[-1]}
    return {"values": values}


def _from_interval(override: Override) -> dict[str, Any]:
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep)
    low, high = sweep.start, sweep.end
    if low is None or high is None:
        raise SpaceError(f"{override.input_line}: an interval needs both ends, as in interval(0.0,0.5)")
    unknown = sorted(sweep.tags - {"log", "int"})
    if unknown:
        raise SpaceError(f"{override.input_line}: unknown tag {unknown[0]!r}; the tags of an interval are int and log")
    integer = "int" in sweep.tags or (isinstance(low, int) and isinstance(high, int))
    if integer and "log" in sweep.tags:
        return {"distribution": "q_log_uniform_values", "min": int(low), "max": int(high), "q": 1}
    if integer:
        return {"distribution": "int_uniform", "min": int(low), "max": int(high)}
    distribution = "log_uniform_values" if "log" in sweep.tags else "uniform"
    return {"distribution": distribution, "min": float(low), "max": float(high)}
