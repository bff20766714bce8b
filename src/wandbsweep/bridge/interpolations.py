"""Interpolations in a sweep file: ``metric: {name: ${optimized_metric}}``, ``values: ["${small}", "${large}"]``.

A parameter's values are what may follow ``=`` on the command line, so each trial's configuration resolves them. Others
are resolved in the multirun's configuration. ``command`` holds W&B's own macros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationValidationError, OmegaConfBaseException

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.findings import join_path
from wandbsweep.sweep.override_strings import OverrideSlot, canonicalize, format_value

_VALUES = ("value", "values", "when", "configurations")
"""Keys below which text is that of parameters' values."""


def resolve_sweep_config(node: DictConfig) -> dict[str, Any]:
    """Return the application's key ``sweep``, resolved as far as it is no value of a parameter.

    Raises SweepConfigError if an interpolation cannot be resolved; it lists them all.
    """
    faults: list[str] = []
    raw: Any = OmegaConf.to_container(node, resolve=False)
    resolved = {
        str(key): raw[key] if key == "command" else _resolve(node, key, str(key), faults)
        for key in node.keys()  # noqa: SIM118  iteration skips missing values
    }
    if faults:
        raise SweepConfigError(faults)
    return resolved


def _resolve(node: Any, key: Any, path: str, faults: list[str]) -> Any:
    """Return the value of ``node`` at ``key`` in plain objects, and add what cannot be resolved to ``faults``."""
    is_value = key in _VALUES and not path.startswith("metric")
    if OmegaConf.is_interpolation(node, key):
        raw: Any = OmegaConf.to_container(node, resolve=False)
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            if not is_value:  # else each trial's configuration may still have what it refers to
                faults.append(f"{path}: {raw[key]!r} cannot be resolved: {_explain_unresolved(error)}")
            return raw[key]
        if is_value and not OmegaConf.is_config(value):
            return raw[key]
    elif OmegaConf.is_missing(node, key):
        return "???"
    else:
        value = node[key]
    if is_value and OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=False)
    if isinstance(value, DictConfig):
        return {name: _resolve(value, name, join_path(path, name), faults) for name in value.keys()}  # noqa: SIM118
    if isinstance(value, ListConfig):
        return [_resolve(value, index, f"{path}[{index}]", faults) for index in range(len(value))]
    return value


def _explain_unresolved(error: OmegaConfBaseException) -> str:
    return str(error).partition("\n")[0]


def add_texts(slot: OverrideSlot, values: Iterable[Any]) -> OverrideSlot:
    """Return ``slot`` with the override texts of those of a parameter's ``values`` that hold interpolations."""
    texts = {canonicalize(value): format_value(value, escape=False) for value in values if has_interpolation(value)}
    return OverrideSlot(**{**slot, "raw": {**texts, **slot.get("raw", {})}}) if texts else slot


def has_interpolation(value: Any) -> bool:
    """Return whether a parameter's value holds an interpolation."""
    if isinstance(value, Mapping):
        return any(map(has_interpolation, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_interpolation, value))
    return isinstance(value, str) and "${" in value


def explain_unresolvable(composed: DictConfig, name: str) -> str:
    """Return why the value at ``name`` of a trial's configuration can certainly not be resolved; empty: perhaps it can.

    Resolvers may depend on the trial's own process.
    """
    try:
        value = OmegaConf.select(composed, name)
        if OmegaConf.is_config(value):
            OmegaConf.to_container(value, resolve=True)
    except (InterpolationKeyError, InterpolationValidationError) as error:
        return _explain_unresolved(error)
    except Exception:  # an application's own resolver may raise anything
        return ""
    return ""
