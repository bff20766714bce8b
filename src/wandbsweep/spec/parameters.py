"""``parameters``: the search space, read from a normalised configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from wandbsweep.spec.conditions import read_when
from wandbsweep.spec.distributions import DISTRIBUTIONS, HYDRA_NAME, Parameter
from wandbsweep.spec.findings import Findings, describe_kind, is_finite, show
from wandbsweep.text import join_words
from wandbsweep.trial import is_number

PARAMETER_KEYS = tuple(
    dict.fromkeys(["distribution", *(key for distribution in DISTRIBUTIONS.values() for key in distribution.keys)])
)
_SHORTEST = "value, values, min and max, distribution, or parameters"
_EXPONENT_DISTRIBUTIONS = ("log_uniform", "inv_log_uniform", "q_log_uniform")
_EXPONENT_LIMIT = 709
"""e to this power is still a finite float."""


def read_parameters(findings: Findings, raw: Any) -> Iterator[tuple[str, str, Parameter | None]]:
    """Yield the path, the name and the parameter of each entry; None: it cannot be read."""
    paths: dict[str, str] = {}
    for path, name, parameter in _read_nested(findings, "parameters", "", raw):
        if parameter and name in paths:
            findings.refuse(path, f"{name} is given twice, also at {paths[name]}")
        if parameter:
            paths.setdefault(name, path)
        yield path, name, parameter


def _read_nested(findings: Findings, path: str, prefix: str, raw: Any) -> Iterator[tuple[str, str, Parameter | None]]:
    if not findings.check_mapping(path, raw, "{lr: {min: 0.001, max: 0.1}}"):
        return
    if not raw:
        findings.refuse(path, "is empty, but must name one parameter at least")
    for key, config in raw.items():
        here = f"{path}.{key}"
        if not isinstance(key, str) or not HYDRA_NAME.fullmatch(key):
            findings.refuse(here, f"the name {show(key)} must be letters, digits and _ . - / @, a letter or _ first")
        if not isinstance(config, dict):
            wanted = f"{{{'values' if isinstance(config, list) else 'value'}: {show(config)}}}"
            findings.refuse(here, f"{show(config)} is {describe_kind(config)}, but must be a mapping such as {wanted}")
        elif "parameters" in config:
            findings.check_keys(here, config, ("parameters",), "a nested parameter")
            yield from _read_nested(findings, f"{here}.parameters", f"{prefix}{key}.", config["parameters"])
        else:
            yield here, f"{prefix}{key}", _read_parameter(findings, here, f"{prefix}{key}", config)


def _read_parameter(findings: Findings, path: str, name: str, config: Mapping[str, Any]) -> Parameter | None:
    before = len(findings.violations)
    bounds = {key: value for key, value in config.items() if key != "when"}
    _check_values(findings, path, bounds)
    distribution = _find_distribution(findings, path, bounds)
    if distribution is not None:
        _check_distribution_keys(findings, path, bounds, distribution)
        _check_bounds(findings, path, bounds, distribution)
    parameter = None
    if distribution is not None and len(findings.violations) == before:
        known = DISTRIBUTIONS[distribution]
        read = {key: bounds.get(key, known.defaults.get(key)) for key in known.keys}
        lists: dict[str, Any] = {key: tuple(bounds[key]) for key in ("values", "probabilities") if key in read}
        parameter = Parameter(name, distribution, **{**read, **lists})
    return read_when(findings, path, config["when"], parameter) if "when" in config else parameter


def _check_values(findings: Findings, path: str, config: Mapping[str, Any]) -> None:
    """Refuse what no distribution accepts."""
    for key in ("min", "max", "mu", "sigma", "q", "a", "b"):
        if key in config:
            above = None if key in ("min", "max", "mu") else 0
            exact = key in ("min", "max")
            findings.read_number(f"{path}.{key}", config[key], above=above, exact=exact, required=True)
    values = config.get("values")
    if "values" in config and (not isinstance(values, list) or not values):
        findings.refuse(f"{path}.values", f"{show(values)} must be a list of one value at least")
    if "probabilities" in config:
        _check_probabilities(findings, f"{path}.probabilities", config["probabilities"], values)


def _check_probabilities(findings: Findings, path: str, raw: Any, values: object) -> None:
    if not isinstance(raw, list) or not raw:
        findings.refuse(path, f"{show(raw)} must be a list with a probability for each of values")
        return
    before = len(findings.violations)
    for i, item in enumerate(raw):
        findings.read_number(f"{path}[{i}]", item, least=0, required=True)
    readable = len(findings.violations) == before
    if isinstance(values, list) and len(values) != len(raw):
        findings.refuse(path, f"{len(raw)} probabilities for {len(values)} values: each value needs one")
    if readable and not math.isclose(total := math.fsum(raw), 1, rel_tol=0, abs_tol=1.001e-5):
        findings.refuse(path, f"{show(raw)} sum to {total:g}, but must sum to 1")


def _find_distribution(findings: Findings, path: str, config: Mapping[str, Any]) -> str | None:
    """Return the distribution that is given, or that W&B infers from the keys; None: it is refused."""
    if "distribution" in config:
        name: str | None = findings.read_choice(f"{path}.distribution", config["distribution"], tuple(DISTRIBUTIONS))
        return name
    if "value" in config:
        return "constant"
    if "values" in config:
        return "categorical_w_probabilities" if "probabilities" in config else "categorical"
    if {"min", "max"} <= config.keys():
        integers = isinstance(config["min"], int) and isinstance(config["max"], int)
        return "int_uniform" if integers else "uniform"
    if "min" in config or "max" in config:
        missing, bound = ("max", "min") if "min" in config else ("min", "max")
        findings.refuse(f"{path}.{missing}", f"is required with {bound}")
    elif given := [key for key in config if key in PARAMETER_KEYS]:
        fitting = [name for name, known in DISTRIBUTIONS.items() if set(given) <= set(known.keys)]
        hint = f"give one: {join_words(fitting, 'or')}" if fitting else "no distribution has all of these keys"
        findings.refuse(path, f"{join_words(given)} without a distribution; {hint}")
    else:
        findings.refuse(path, f"{show(config)} is not a parameter, which must have {_SHORTEST}")
    findings.check_keys(path, config, PARAMETER_KEYS, "a parameter")
    return None


def _check_distribution_keys(findings: Findings, path: str, config: Mapping[str, Any], distribution: str) -> None:
    """Refuse keys that the distribution does not have, and report those that it needs and that are missing."""
    keys = DISTRIBUTIONS[distribution].keys
    for key in config:
        others = [name for name, known in DISTRIBUTIONS.items() if key in known.keys]
        if key in keys or key == "distribution":
            continue
        if others:
            inferred = "" if "distribution" in config else " (inferred)"
            rule = f"{distribution}{inferred} has {join_words(keys)}; {key} goes with {join_words(others, 'or')}"
            findings.refuse(f"{path}.{key}", f"{show(config[key])} is not used: {rule}")
        else:
            findings.check_keys(path, {key: None}, ("distribution", *keys), distribution)
    for key in DISTRIBUTIONS[distribution].required:
        if key not in config:
            findings.refuse(f"{path}.{key}", f"is required by {distribution}")


def _check_bounds(findings: Findings, path: str, config: Mapping[str, Any], distribution: str) -> None:
    given = {key: config[key] for key in ("min", "max") if is_finite(config.get(key))}
    for key, bound in given.items():
        if distribution == "int_uniform" and not isinstance(bound, int):
            findings.refuse(f"{path}.{key}", f"{bound} is a float, but int_uniform needs an integer; use uniform")
        if distribution.endswith("_values") and bound <= 0:
            findings.refuse(f"{path}.{key}", f"{bound} must be > 0, as {distribution} takes its logarithm")
        if distribution in _EXPONENT_DISTRIBUTIONS and abs(bound) > _EXPONENT_LIMIT:
            rule = f"the bounds of {distribution} are exponents of e, within ±{_EXPONENT_LIMIT}"
            findings.refuse(f"{path}.{key}", f"{bound}: {rule}; {distribution}_values takes the values themselves")
        if distribution != "int_uniform" and not is_number(bound):
            findings.refuse(f"{path}.{key}", f"an integer of {bound.bit_length()} bits is too large for a float")
    if len(given) == 2 and given["min"] >= given["max"]:
        findings.refuse(f"{path}.min", f"{given['min']} must be less than max, {given['max']}")
    if distribution in _EXPONENT_DISTRIBUTIONS:
        rule = "where min and max are base-e exponents"
        findings.note(path, f"uses {distribution}, {rule}; {distribution}_values takes the values themselves")
