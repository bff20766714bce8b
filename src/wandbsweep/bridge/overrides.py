"""The command line's overrides, read with Hydra's grammar.

Sweep overrides (comma lists, ``choice``, ``range``, ``interval``, ``tag``) become parameters of the sweep
configuration. Fixed overrides remove parameters from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString, RangeSweep, Transformer

from wandbsweep.errors import SpaceError
from wandbsweep.sweep.override_strings import OverrideSlot, canonicalize, format_value, is_sweep_key


@dataclass(frozen=True)
class CommandLine:
    """The task overrides of one multirun command."""

    slots: list[OverrideSlot] = field(default_factory=list)
    """In the order given."""
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The parameters that it defines, each as in a W&B sweep configuration."""
    lists: dict[str, list[Any]] = field(default_factory=dict)
    """The values of those parameters that are lists, in order and with repetitions."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """The keys that it sets or deletes."""


def read_command_line(arguments: Sequence[str], loader: ConfigLoader, *, own_key: bool = False) -> CommandLine:
    """Sort overrides into parameters and fixed ones. If two have the same key, the last one counts.

    Args:
        arguments: The override strings.
        loader: The application's loader, which ``glob`` asks for choices.
        own_key: Whether the key ``sweep`` is the application's own, and no sweep configuration.

    Returns:
        The overrides, sorted.

    Raises:
        SpaceError: An override sweeps over the sweep configuration, or over an interval that has no distribution.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    line = CommandLine()
    for name, override in {_get_name(override): override for override in parsed}.items():
        if not override.is_sweep_override():
            assert override.input_line is not None
            line.fixed[name] = override.value()
            line.slots.append(_make_fixed_slot(override.input_line, override))
        elif is_sweep_key(name) and not own_key:
            raise SpaceError(
                f"{override.input_line}: one command runs one sweep, so the sweep's own configuration cannot be swept "
                "over; start a sweep for each."
            )
        else:
            line.slots.append(_add_parameter(line, name, override))
    return line


def _add_parameter(line: CommandLine, name: str, override: Override) -> OverrideSlot:
    slot = OverrideSlot(parameter=name, key=override.get_key_element())
    if override.is_interval_sweep():
        line.parameters[name] = _convert_interval(override)
        return slot
    elements = list(override.sweep_iterator())
    values = [_remove_quotes(element) for element in elements]
    slot["raw"] = {canonicalize(v): _format_element(e) for v, e in zip(values, elements, strict=True)}
    line.lists[name] = values
    line.parameters[name] = _convert_list(override, values)
    return slot


def _format_element(element: Any) -> str:
    """Return an element as Hydra writes it, but with quotes that it needs: Hydra drops those in ``choice('é')``."""
    is_quoted = isinstance(element, str) and not element.isascii()
    return format_value(element, escape=False) if is_quoted else str(Transformer.str(element))


def _make_fixed_slot(text: str, override: Override) -> OverrideSlot:
    # As Hydra's own sweeper passes it to its jobs, whose directories may be named after it.
    composed = f"{override.get_key_element()}={override.get_value_element_as_str()}"
    return OverrideSlot(line=text) if composed == text else OverrideSlot(line=text, composed=composed)


def _get_name(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _remove_quotes(element: Any) -> Any:
    """Return a parsed element as plain values, without Hydra's quoted strings."""
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [_remove_quotes(item) for item in element]
    if isinstance(element, dict):
        return {_remove_quotes(key): _remove_quotes(item) for key, item in element.items()}
    return element


def _convert_list(override: Override, values: list[Any]) -> dict[str, Any]:
    """Return the parameter of a list's ``values``. A range of integers is a distribution."""
    sweep = override.value()
    if (
        isinstance(sweep, RangeSweep)
        and (sweep.step, sweep.shuffle) == (1, False)
        and len(values) > 1
        and all(isinstance(value, int) for value in values)
    ):
        return {"distribution": "int_uniform", "min": values[0], "max": values[-1]}
    return {"values": values}


def _convert_interval(override: Override) -> dict[str, Any]:
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
