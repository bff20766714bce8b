"""``repeats`` and ``prior``: two extensions of W&B's format, whose own validator refuses these keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wandbsweep.spec.distributions import HYDRA_NAME, Parameter, grid_key
from wandbsweep.spec.findings import Findings
from wandbsweep.spec.methods import find_method
from wandbsweep.spec.normalize import read_text_number
from wandbsweep.spec.sweep_spec import Prior, Repeats
from wandbsweep.trial import is_number

_ABSENT = object()


def read_repeats(
    findings: Findings, config: Mapping[str, Any], parameters: Mapping[str, Parameter | None]
) -> Repeats | None:
    """Return ``repeats``; None: it is refused.

    Args:
        findings: Collects the violations.
        config: The whole configuration.
        parameters: The parameters, by name; None: it could not be read.
    """
    raw = config["repeats"]
    if not findings.check_mapping("repeats", raw, "{parameter: seed, values: [0, 1, 2]}"):
        return None
    findings.check_keys("repeats", raw, ("parameter", "values"), "repeats")
    name, values = raw.get("parameter"), raw.get("values")
    if not isinstance(name, str) or not HYDRA_NAME.fullmatch(name):
        findings.refuse("repeats.parameter", f"{name!r} must be a key that each run sets differently, such as seed")
    elif name in parameters:
        findings.refuse("repeats.parameter", f"{name} is among the parameters that are searched; it cannot be both")
    if not isinstance(values, list) or len(values) < 2 or len({grid_key(v) for v in values}) < len(values):
        findings.refuse("repeats.values", f"{values!r} must be a list of two or more different values: [0, 1, 2]")
    if "metrics" in config:
        findings.refuse("repeats", "cannot be combined with metrics: a mean is taken of one metric")
    elif "metric" not in config:
        findings.refuse("metric", "is required by repeats: {name: …, goal: minimize or maximize}")
    return Repeats(str(name), tuple(values)) if isinstance(values, list) else None


def read_prior(
    findings: Findings, config: Mapping[str, Any], parameters: Mapping[str, Parameter | None]
) -> Prior | None:
    """Return ``prior``; None: it is refused. The arguments are those of ``read_repeats``."""
    raw = config["prior"]
    if not findings.check_mapping("prior", raw, "{configurations: [{lr: 0.001}], sweeps: [ID]}"):
        return None
    findings.check_keys("prior", raw, ("configurations", "sweeps", "expect"), "prior")
    method = find_method(config.get("method"))
    if method and method.finite:
        findings.refuse("prior", f"cannot be combined with method {method.name}, which tries every point in its order")
    configurations, sweeps = ([] if raw.get(key) is None else raw[key] for key in ("configurations", "sweeps"))
    expect = _read_expectation(findings, config, raw["expect"], parameters) if raw.get("expect") is not None else {}
    if configurations == [] == sweeps and not raw.get("expect"):
        findings.refuse("prior", "is empty, but must have configurations, sweeps or expect")
    if not isinstance(configurations, list):
        findings.refuse("prior.configurations", f"{configurations!r} must be a list of mappings: [{{lr: 0.001}}]")
        configurations = []
    read = [
        _read_configuration(findings, f"prior.configurations[{index}]", given, parameters)
        for index, given in enumerate(configurations)
    ]
    if not isinstance(sweeps, list) or not all(isinstance(sweep, str) for sweep in sweeps):
        findings.refuse("prior.sweeps", f"{sweeps!r} must be a list of sweeps: ids or directories")
        sweeps = []
    elif sweeps and method and not (method.learns or method.finite or method.external):
        rule = f"cannot be combined with method {method.name}, which learns nothing; use method bayes"
        findings.refuse("prior.sweeps", rule)
    return Prior(tuple(given for given in read if given is not None), tuple(sweeps), expect)


def _read_expectation(
    findings: Findings, config: Mapping[str, Any], raw: Any, parameters: Mapping[str, Parameter | None]
) -> dict[str, Any]:
    method = find_method(config.get("method"))
    if method and not (method.learns or method.finite or method.external):
        rule = f"cannot be combined with method {method.name}, which weighs nothing; use method bayes"
        findings.refuse("prior.expect", rule)
    return _read_configuration(findings, "prior.expect", raw, parameters) or {}


def _read_configuration(
    findings: Findings, path: str, raw: Any, parameters: Mapping[str, Parameter | None]
) -> dict[str, Any] | None:
    """Return a configuration to try, with numbers in place of text that means them."""
    if not findings.check_mapping(path, raw, "{lr: 0.001}"):
        return None
    if not raw:
        findings.refuse(path, "is empty, but must give one parameter at least")
    readable = [name for name, parameter in parameters.items() if parameter]
    findings.check_keys(path, [n for n in raw if n in readable or n not in parameters], readable, "this sweep")
    read = dict(raw)
    for name, value in raw.items():
        parameter, here = parameters.get(name), f"{path}.{name}"
        if parameter is None:
            continue
        if parameter.listed is None and isinstance(value, str):
            read[name] = read_text_number(here, value, findings, exact=True)
            if findings.read_number(here, read[name], exact=True) is None:
                continue
        if misfit := explain_misfit(parameter, read[name]):
            findings.refuse(here, misfit)
        elif unmet := _describe_unmet_condition(parameter, read, parameters):
            findings.refuse(here, f"exists only {unmet}, which the configuration does not say")
    return read


def _describe_unmet_condition(
    parameter: Parameter, given: Mapping[str, Any], parameters: Mapping[str, Parameter | None]
) -> str:
    """Describe the first condition of ``parameter`` that a configuration does not meet; empty: it meets all."""
    for name, values in parameter.when:
        parent = parameters.get(name)
        if parent is None:
            continue
        chosen = parent.value if parent.distribution == "constant" else given.get(name, _ABSENT)
        if chosen is _ABSENT or grid_key(chosen) not in map(grid_key, values):
            return f"with {name}: {' or '.join(map(str, values))}"
    return ""


def explain_misfit(parameter: Parameter, value: Any) -> str:
    """Explain why ``parameter`` cannot have ``value``; empty: it can."""
    if parameter.listed is not None:
        known = grid_key(value) in map(grid_key, parameter.listed)
        return "" if known else f"{value!r} is not one of its values, {', '.join(map(str, parameter.listed))}"
    if not is_number(value):
        return f"{value!r} is not a number, but {parameter.distribution} gives numbers"
    if parameter.distribution == "int_uniform" and not isinstance(value, int):
        return f"{value} is not an integer"
    low, high = parameter.ppf(0.0), parameter.ppf(1.0)
    # A value that was computed from logarithms may miss its own bound by a rounding error.
    slack = 1e-9 * max(abs(low), abs(high)) if all(map(is_number, (low, high))) else 0.0
    return "" if low - slack <= value <= high + slack else f"{value} is outside of {low} to {high}"
