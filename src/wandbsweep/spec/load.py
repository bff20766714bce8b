"""``load_sweep``: from a file or a mapping to a validated ``SweepSpec``, with every violation of the rules.

Some things are accepted that W&B's schema refuses: names of Hydra's config groups (``model/encoder``, ``db@pkg``),
``metrics`` with any method, numbers that YAML reads as text (with a warning), and null for an optional key, which means
that it is absent. Unknown keys at the top are dropped with a warning, as by W&B's client, unless one looks like a typo.
Some things are refused that W&B's schema accepts but its engine fails on: bayes or early termination without metric, a
``sigma``, ``a`` or ``b`` of 0, exponents whose power of e is infinite, Hyperband settings that give no band.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.conditions import check_conditions
from wandbsweep.spec.constraints import are_met, read_constraints
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.early_termination import read_early_terminate
from wandbsweep.spec.extensions import read_prior, read_repeats
from wandbsweep.spec.findings import Findings, describe_kind, show
from wandbsweep.spec.limits import read_limits
from wandbsweep.spec.methods import METHODS, find_method
from wandbsweep.spec.normalize import normalize
from wandbsweep.spec.parameters import read_parameters
from wandbsweep.spec.sweep_file import read_file
from wandbsweep.spec.sweep_spec import Metric, Prior, SweepSpec
from wandbsweep.spec.zipped import Groups, find_zip_fault, put_values, read_zip
from wandbsweep.text import join_words

GOALS = ("minimize", "maximize")
VALUE_RULES = ("best", "last")
SOURCES = ("wandb", "stdout")
ORDERS = ("sequential", "random")
IMPUTE = ("worst", "best", "latest")
# The keys that only W&B's own tools read; they are checked and kept.
_TEXT_KEYS = ("program", "name", "description", "project", "entity", "job", "image_uri", "apiVersion")
_WANDB_KEYS = (*_TEXT_KEYS, "command", "controller", "kind", "scheduler")
_SCHEDULER_KEYS = ("engine", "source", "optimizer", "search_space")
_ENGINES = ("wandb", "optuna", "ax")
TOP_KEYS = (
    *("method", "parameters", "metric", "metrics", "early_terminate", "run_cap", "repeats", "prior", "constraints"),
    *("zip", "order"),
    *_WANDB_KEYS,
)


def load_sweep(source: str | os.PathLike[str] | Mapping[str, Any]) -> SweepSpec:
    """Read a sweep file, or the mapping that one holds.

    Text that means a number is read as one, with a warning. That is any text where a number is needed. In a file it is
    also unquoted text in exponent form (``1e-5``). A mapping does not show quotes, so there this form is a number in
    ``value``, and in ``values`` if it makes all of them numbers.

    Raises:
        SweepConfigError: The configuration breaks its rules; the error lists every violation.
    """
    findings = Findings()
    if isinstance(source, Mapping):
        where = None
        spec = read_configuration(source, findings)
    else:
        where = os.fspath(source)
        raw, findings.notes = read_file(where)
        spec = read_configuration(raw, findings, quotes_seen=True)
    if spec is None:
        raise SweepConfigError(findings.violations, source=where)
    for note in findings.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return spec


def read_configuration(raw: Any, findings: Findings, *, quotes_seen: bool = False) -> SweepSpec | None:
    """Return the spec of a sweep configuration; None: there are violations.

    Args:
        raw: The configuration; it is not changed.
        findings: Collects all violations, and notes on what may surprise.
        quotes_seen: See ``normalize``.
    """
    config = normalize(raw, findings, quotes_seen=quotes_seen)
    if config is None:
        return None
    config = _drop_unknown_keys(findings, config)
    method = findings.read_choice("method", config.get("method"), tuple(METHODS))
    entries = [] if _has_own_space(findings, config) else list(read_parameters(findings, config["parameters"]))
    parameters = {name: parameter for _, name, parameter in entries}
    metric = read_metric(findings, "metric", config["metric"]) if "metric" in config else None
    metrics = read_metrics(findings, config["metrics"]) if "metrics" in config else ()
    early_terminate = read_early_terminate(findings, config["early_terminate"]) if "early_terminate" in config else None
    run_cap = findings.read_integer("run_cap", config.get("run_cap"), least=1)
    repeats = read_repeats(findings, config, parameters) if "repeats" in config else None
    prior = read_prior(findings, config, parameters) if "prior" in config else None
    check_conditions(findings, parameters)
    zipped = read_zip(findings, config["zip"], parameters) if "zip" in config else ()
    order = _read_order(findings, config)
    constraints = read_constraints(findings, config.get("constraints"), parameters, zipped)
    prior = _fit_prior(findings, prior, constraints, parameters, zipped)
    _check_wandb_keys(findings, config)
    _check_combinations(findings, config)
    if method and METHODS[method].finite:
        for path, _, parameter in entries:
            if parameter and parameter.grid_fault:
                findings.refuse(path, parameter.grid_fault)
    if findings.violations:
        return None
    if prior and prior.configurations:
        config["prior"] = {**config["prior"], "configurations": [dict(given) for given in prior.configurations]}
    if prior and prior.expect:
        config["prior"] = {**config["prior"], "expect": dict(prior.expect)}
    return SweepSpec(
        method=method,
        parameters={name: parameter for name, parameter in parameters.items() if parameter},
        metric=metric,
        metrics=metrics,
        early_terminate=early_terminate,
        run_cap=run_cap,
        repeats=repeats,
        prior=prior,
        constraints=constraints,
        zip=zipped,
        order=order,
        name=config.get("name"),
        description=config.get("description"),
        program=config.get("program"),
        config=config,
    )


def _drop_unknown_keys(findings: Findings, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` without unknown keys, of which W&B's client only warns. What looks like a typo is refused."""
    kept = {key: value for key, value in config.items() if key in TOP_KEYS}
    for key in [key for key in config if key not in kept]:
        if get_close_matches(str(key).lower(), TOP_KEYS, 1):
            findings.check_keys("", [key], TOP_KEYS, "a sweep configuration")
        else:
            findings.note(
                str(key), f"unknown key, which has no effect; a sweep configuration has {join_words(TOP_KEYS)}"
            )
    return kept


def change_run_cap(spec: SweepSpec, run_cap: Any) -> SweepSpec:
    """Return the same sweep with another ``run_cap``, or raise SweepConfigError if that is no number of trials."""
    return load_sweep({**spec.dump(), "run_cap": run_cap})


def require_end(spec: SweepSpec, remedies: str) -> None:
    """Raise SweepConfigError if neither its method nor ``run_cap`` nor a target ends a sweep.

    Args:
        spec: The sweep configuration.
        remedies: What the user can do, as the message ends.
    """
    has_target = spec.metric is not None and spec.metric.target is not None
    if not (spec.method_info.finite or spec.run_cap or has_target):
        raise SweepConfigError(
            [f"run_cap: is required, since nothing else would end this {spec.method} sweep; {remedies}"]
        )


def read_metric(findings: Findings, path: str, raw: Any) -> Metric | None:
    if not isinstance(raw, dict):
        example = f"{{name: {raw}, goal: minimize}}" if isinstance(raw, str) else "{name: …, goal: …}"
        findings.refuse(path, f"{show(raw)} is {describe_kind(raw)}, but must be a mapping such as {example}")
        return None
    # `from` is a word of Python's, so the field has another name.
    keys = ("from" if field.name == "source" else field.name for field in fields(Metric))
    findings.check_keys(path, raw, keys, "a metric")
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        given = f"{show(name)} is not text" if name is not None else "is required"
        findings.refuse(f"{path}.name", f"{given}; it is the name that training reports, such as val/loss")
    goal = findings.read_choice(f"{path}.goal", raw.get("goal", "minimize"), GOALS)
    target = findings.read_number(f"{path}.target", raw.get("target"))
    impute = findings.read_choice(f"{path}.impute", raw.get("impute", "worst"), IMPUTE)
    running = raw.get("impute_while_running", "false")
    running = findings.read_choice(f"{path}.impute_while_running", running, ("false", *IMPUTE))
    value = findings.read_choice(f"{path}.value", raw.get("value", "best"), VALUE_RULES)
    limits = (
        read_limits(findings, f"{path}.constraints", raw["constraints"]) if raw.get("constraints") is not None else ()
    )
    source = findings.read_choice(f"{path}.from", raw.get("from", "wandb"), SOURCES)
    return Metric(str(name), goal, target, impute, False if running == "false" else running, value, limits, source)


def read_metrics(findings: Findings, raw: Any) -> tuple[Metric, ...]:
    if not isinstance(raw, list) or len(raw) < 2:
        findings.refuse("metrics", f"{show(raw)} must be a list of two or more metrics; a single one is `metric`")
        return ()
    metrics = [read_metric(findings, f"metrics[{i}]", item) for i, item in enumerate(raw)]
    for i, item in enumerate(raw):
        if isinstance(item, dict) and item.get("value") == "best":
            findings.refuse(
                f"metrics[{i}].value", "best is known of a single `metric` only; of several, the last count"
            )
    names = [metric.name for metric in metrics if metric]
    for i, name in enumerate(names):
        if name in names[:i]:
            findings.refuse(f"metrics[{i}].name", f"{show(name)} is listed twice")
    for i, metric in enumerate(metrics):
        if metric and metric.target is not None:
            findings.note(f"metrics[{i}].target", "is ignored; only a single `metric` has a target to end at")
    return tuple(metric for metric in metrics if metric)


def _has_own_space(findings: Findings, config: Mapping[str, Any]) -> bool:
    """Return whether the configuration has no ``parameters``, which only W&B's scheduler may bring itself."""
    scheduler = config.get("scheduler")
    if "parameters" in config:
        return False
    if not (isinstance(scheduler, dict) and scheduler.get("search_space")):
        findings.refuse("parameters", "is required: the search space, such as {lr: {min: 0.001, max: 0.1}}")
    return True


def _check_combinations(findings: Findings, config: Mapping[str, Any]) -> None:
    if "metric" in config and "metrics" in config:
        findings.refuse("metrics", "cannot be combined with metric: one objective is `metric`, more are `metrics`")
    method = find_method(config.get("method"))
    if method and method.learns and not {"metric", "metrics"} & config.keys():
        findings.refuse("metric", f"is required by method {method.name}: {{name: …, goal: minimize or maximize}}")
    if "early_terminate" in config and "metric" not in config:
        findings.refuse("metric", "is required by early_terminate: {name: …, goal: minimize or maximize}")


def _read_order(findings: Findings, config: Mapping[str, Any]) -> Any:
    """Return the order of a grid's points; None: it is refused."""
    if "order" not in config:
        return ORDERS[0]
    method = find_method(config.get("method"))
    if method and not method.finite:
        findings.refuse("order", f"goes with method grid only; {method.name} has no order of points to change")
    return findings.read_choice("order", config["order"], ORDERS)


def _fit_prior(
    findings: Findings,
    prior: Prior | None,
    constraints: Sequence[str],
    parameters: Mapping[str, Parameter | None],
    zipped: Groups,
) -> Prior | None:
    """Return ``prior`` with the expected values of what is zipped with its own.

    Refuses configurations to try first that break a constraint, and values that never occur together.
    """
    readable = {name: parameter for name, parameter in parameters.items() if parameter}
    if findings.violations or prior is None:
        return prior
    if fault := find_zip_fault(readable, zipped, prior.expect):
        findings.refuse("prior.expect", fault)
    for index, configuration in enumerate(prior.configurations):
        if fault := find_zip_fault(readable, zipped, configuration):
            findings.refuse(f"prior.configurations[{index}]", fault)
        for text in constraints:
            if not are_met([text], readable, configuration):
                findings.refuse(f"prior.configurations[{index}]", f"breaks the constraint {text!r}")
    return replace(prior, expect=put_values(readable, zipped, {}, prior.expect))


def _check_wandb_keys(findings: Findings, config: Mapping[str, Any]) -> None:
    for key in _TEXT_KEYS:
        findings.check_text(key, config.get(key, ""), "; put it in quotes")
    if "kind" in config:
        findings.read_choice("kind", config["kind"], ("sweep",))
    if not isinstance(command := config.get("command", []), list):
        findings.refuse("command", f"{show(command)} is {describe_kind(command)}, but must be a list")
    controller = config.get("controller", {})
    if "controller" in config and findings.check_mapping("controller", controller, "{type: local}"):
        findings.read_choice("controller.type", controller.get("type"), ("local", "cloud"))
    scheduler = config.get("scheduler", {})
    if "scheduler" in config and findings.check_mapping("scheduler", scheduler, "{engine: optuna}"):
        _check_scheduler(findings, config, scheduler)


def _check_scheduler(findings: Findings, config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> None:
    findings.check_keys("scheduler", scheduler, _SCHEDULER_KEYS, "a scheduler")
    engine = findings.read_choice("scheduler.engine", scheduler.get("engine"), _ENGINES)
    for key in _SCHEDULER_KEYS[1:]:
        findings.check_text(f"scheduler.{key}", scheduler.get(key, ""))
    for key in {"optimizer", "search_space"} & scheduler.keys():
        if "source" not in scheduler:
            findings.refuse(f"scheduler.{key}", "needs source, the file that holds it")
    methods = [method.name for method in METHODS.values() if engine in method.engines]
    if engine and config.get("method") not in methods:
        findings.refuse("scheduler.engine", f"{engine} needs method {join_words(methods, 'or')}")
    for key in {"controller", "early_terminate"} & config.keys():
        if key == "early_terminate" or config[key] == {"type": "local"}:
            findings.refuse(key, "cannot be used together with scheduler")
