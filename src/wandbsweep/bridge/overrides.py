"""Read the multirun command line in Hydra's override grammar.

Sweep overrides (comma lists, ``choice``, ``range``, ``interval``, ``tag``) become parameters of the sweep
configuration; fixed overrides take parameters out of it. ``override_strings`` is the other direction: it writes a
trial's values as overrides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString, RangeSweep, Transformer

from wandbsweep.errors import SpaceError
from wandbsweep.sweep.override_strings import OverrideSlot, canonicalize, is_sweep_key


@dataclass(frozen=True)
class CommandLine:
    """The task overrides of one multirun command, sorted out."""

    slots: list[OverrideSlot] = field(default_factory=list)
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
    slots: list[OverrideSlot] = []
    parameters, lists, fixed = {}, {}, {}
    for name, override in last.items():
        if not override.is_sweep_override():
            fixed[name] = override.value()
            assert override.input_line is not None
            slots.append(OverrideSlot(line=override.input_line))
            continue
        if is_sweep_key(name) and not own_key:
            raise SpaceError(
                f"{override.input_line}: one command runs one sweep, so the sweep's own configuration cannot be swept "
                "over; start a sweep for each."
            )
        slot = OverrideSlot(parameter=name, key=override.get_key_element())
        if override.is_interval_sweep():
            parameters[name] = _from_interval(override)
        else:
            elements = list(override.sweep_iterator())
            values = [_plain(element) for element in elements]
            slot["raw"] = {canonicalize(v): Transformer.str(e) for v, e in zip(values, elements, strict=True)}
            lists[name] = values
            parameters[name] = _from_list(override, values)
        slots.append(slot)
    return CommandLine(slots, parameters, lists, fixed)


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
