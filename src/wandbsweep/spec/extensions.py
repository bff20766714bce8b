"""The rules of what a sweep file may say beyond W&B's format; W&B's own validator refuses each of these keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.methods import find_method
from wandbsweep.spec.sweep_spec import HYDRA_NAME, EarlyTerminate, Prior, Repeats
from wandbsweep.text import join_words
from wandbsweep.trial import is_number

if TYPE_CHECKING:
    from wandbsweep.spec.validate import Reader

HYPERBAND_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_STOPPER_KEYS = {
    "auto": ("type",),
    "median": ("type", "min_iter", "startup"),
    "asha": ("type", "min_iter", "eta"),
    "wilcoxon": ("type", "p", "startup"),
}
STOPPERS = ("hyperband", *_STOPPER_KEYS)
_NOT_THERE = object()


def read_stopper(reader: Reader, path: str, raw: dict[str, Any]) -> EarlyTerminate:
    """``auto``, or one of Optuna's pruners, with Optuna's defaults."""
    kind = raw["type"]
    reader.known_keys(path, raw, _STOPPER_KEYS[kind], kind)
    if kind == "auto":
        return EarlyTerminate("auto")
    min_iter = reader.integer(f"{path}.min_iter", raw, "min_iter", least=1)
    startup = reader.integer(f"{path}.startup", raw, "startup", least=0)
    eta = reader.integer(f"{path}.eta", raw, "eta", least=2) if kind == "asha" else None
    p = reader.number(f"{path}.p", raw, "p", above=0) if kind == "wilcoxon" else None
    if p is not None and p >= 1:
        reader.refuse(f"{path}.p", f"{p} must be a p-value below 1")
    defaults = {"median": 5, "asha": None, "wilcoxon": 2}
    return EarlyTerminate(
        kind,
        min_iter,
        eta=4 if eta is None else eta,
        startup=defaults[kind] if startup is None else startup,
        p=0.1 if kind == "wilcoxon" and p is None else p,
    )


def read_when(reader: Reader, path: str, raw: Any, parameter: Parameter | None) -> Parameter | None:
    """``parameter`` with its condition: ``{other: value}``, or a list of values."""
    if not reader.is_mapping(f"{path}.when", raw, "{optimizer: sgd}") or parameter is None:
        return parameter
    if not raw:
        reader.refuse(f"{path}.when", "is empty, but must name another parameter and its values")
    for name, values in raw.items():
        if values == []:
            reader.refuse(f"{path}.when.{name}", "is an empty list, so the condition could never be met")
    when = tuple((str(name), tuple(v if isinstance(v, list) else [v])) for name, v in raw.items())
    return dataclasses.replace(parameter, when=when)


def read_repeats(reader: Reader, config: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Repeats | None:
    raw = config["repeats"]
    if not reader.is_mapping("repeats", raw, "{parameter: seed, values: [0, 1, 2]}"):
        return None
    reader.known_keys("repeats", raw, ("parameter", "values"), "repeats")
    name, values = raw.get("parameter"), raw.get("values")
    if not isinstance(name, str) or not HYDRA_NAME.fullmatch(name):
        reader.refuse("repeats.parameter", f"{name!r} must be the key that each run gives another value, as seed")
    elif name in parameters or name in reader.unreadable:
        reader.refuse("repeats.parameter", f"{name} is among the parameters that are searched; it can be only one")
    if not isinstance(values, list) or len(values) < 2 or len({grid_key(v) for v in values}) < len(values):
        reader.refuse("repeats.values", f"{values!r} must be a list of two values or more that differ, as [0, 1, 2]")
    if "metrics" in config:
        reader.refuse("repeats", "cannot be given beside metrics: a mean is taken of one metric")
    elif "metric" not in config:
        reader.refuse("metric", "is required by repeats: {name: …, goal: minimize or maximize}")
    return Repeats(str(name), tuple(values)) if isinstance(values, list) else None


def read_prior(reader: Reader, config: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Prior | None:
    raw = config["prior"]
    if not reader.is_mapping("prior", raw, "{configurations: [{lr: 0.001}], sweeps: [ID]}"):
        return None
    reader.known_keys("prior", raw, ("configurations", "sweeps"), "prior")
    method = find_method(config.get("method"))
    if method and method.finite:
        reader.refuse("prior", "is of no use to a grid, which tries every point in its order")
    configurations, sweeps = ([] if raw.get(key) is None else raw[key] for key in ("configurations", "sweeps"))
    if configurations == [] == sweeps:
        reader.refuse("prior", "is empty, but must have configurations or sweeps")
    if not isinstance(configurations, list):
        reader.refuse("prior.configurations", f"{configurations!r} must be a list of mappings, as [{{lr: 0.001}}]")
        configurations = []
    for index, configuration in enumerate(configurations):
        _check_configuration(reader, f"prior.configurations[{index}]", configuration, parameters)
    if not isinstance(sweeps, list) or not all(isinstance(sweep, str) for sweep in sweeps):
        reader.refuse("prior.sweeps", f"{sweeps!r} must be a list of sweeps: ids or directories")
        sweeps = []
    elif sweeps and method and not (method.learns or method.finite or method.external):
        reader.refuse("prior.sweeps", "is of no use to a random search, which learns nothing; use method bayes")
    return Prior(tuple(c for c in configurations if isinstance(c, Mapping)), tuple(sweeps))


def _check_configuration(reader: Reader, path: str, given: Any, parameters: Mapping[str, Parameter]) -> None:
    if not reader.is_mapping(path, given, "{lr: 0.001}"):
        return
    if not given:
        reader.refuse(path, "is empty, but must give one parameter at least")
    reader.known_keys(path, {name: None for name in given if name not in reader.unreadable}, parameters, "this sweep")
    for name in given:
        if (parameter := parameters.get(name)) is None:
            continue
        numeric = parameter.values is None and parameter.distribution != "constant"
        if (
            numeric
            and isinstance(given[name], str)
            and reader.number(f"{path}.{name}", given, name, exact=True) is None
        ):
            continue
        if fault := outside(parameter, given[name]):
            reader.refuse(f"{path}.{name}", fault)
        elif lacking := _unmet(parameter, given, parameters):
            reader.refuse(f"{path}.{name}", f"exists only {lacking}, which the configuration does not say")


def _unmet(parameter: Parameter, given: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> str:
    """The first of ``parameter``'s conditions that does not hold in a configuration to try; empty: all do."""
    for parent, values in parameter.when:
        law = parameters.get(parent)
        chosen = law.value if law and law.distribution == "constant" else given.get(parent, _NOT_THERE)
        if law and (chosen is _NOT_THERE or grid_key(chosen) not in map(grid_key, values)):
            return f"with {parent}: {join_words(values, 'or')}"
    return ""


def outside(parameter: Parameter, value: Any) -> str:
    """Why ``value`` is none that ``parameter`` can have; empty: it can have it."""
    listed = [parameter.value] if parameter.distribution == "constant" else parameter.values
    if listed is not None:
        known = grid_key(value) in {grid_key(item) for item in listed}
        return "" if known else f"{value!r} is no value of it; its values are {', '.join(map(str, listed))}"
    if not is_number(value):
        return f"{value!r} is no number, which {parameter.distribution} gives"
    if parameter.distribution == "int_uniform" and not isinstance(value, int):
        return f"{value} is no integer"
    low, high = parameter.ppf(0.0), parameter.ppf(1.0)
    # What is computed from logarithms may miss its own bound by a rounding.
    slack = 1e-9 * max(abs(low), abs(high)) if all(map(_finite, (low, high))) else 0.0
    return "" if low - slack <= value <= high + slack else f"{value} is outside of {low} to {high}"


def _finite(number: float) -> bool:
    return abs(number) < float("inf")
