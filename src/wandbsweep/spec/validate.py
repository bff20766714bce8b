"""The rules of a sweep configuration: reads it, fills in defaults, and finds every violation.

Some things are accepted that W&B's schema refuses: names of Hydra's config groups (``model/encoder``, ``db@pkg``),
``metrics`` with any method, numbers that YAML reads as text (with a warning), and null for an optional key, which means
that it is absent. Some things are refused that W&B's schema accepts but its engine fails on: bayes or early termination
without a metric, a ``sigma``, ``a`` or ``b`` of 0, exponents whose power of e is infinite, Hyperband settings that give
no band.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from wandbsweep.spec.conditions import find_condition_violations
from wandbsweep.spec.early_termination import read_early_terminate
from wandbsweep.spec.extensions import read_prior, read_repeats
from wandbsweep.spec.findings import Findings, describe_kind, show
from wandbsweep.spec.methods import METHODS, find_method
from wandbsweep.spec.normalize import normalize
from wandbsweep.spec.parameters import read_parameters
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.spec.wandb_keys import WANDB_KEYS, check_wandb_keys

GOALS = ("minimize", "maximize")
IMPUTE = ("worst", "best", "latest")
TOP_KEYS = (
    *("method", "parameters", "metric", "metrics", "early_terminate", "run_cap", "repeats", "prior"),
    *WANDB_KEYS,
)


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
    findings.check_keys("", config, TOP_KEYS, "a sweep configuration")
    method = findings.read_choice("method", config.get("method"), tuple(METHODS))
    entries = [] if _has_own_space(findings, config) else list(read_parameters(findings, config["parameters"]))
    parameters = {name: parameter for _, name, parameter in entries if parameter}
    unreadable = {name for _, name, parameter in entries if parameter is None}
    metric = read_metric(findings, "metric", config["metric"]) if "metric" in config else None
    metrics = read_metrics(findings, config["metrics"]) if "metrics" in config else ()
    early_terminate = read_early_terminate(findings, config["early_terminate"]) if "early_terminate" in config else None
    run_cap = findings.read_integer("run_cap", config.get("run_cap"), least=1)
    repeats = read_repeats(findings, config, parameters, unreadable) if "repeats" in config else None
    prior = read_prior(findings, config, parameters, unreadable) if "prior" in config else None
    findings.violations.extend(find_condition_violations(parameters, unreadable))
    check_wandb_keys(findings, config)
    _check_combinations(findings, config)
    if method and METHODS[method].finite:
        for path, _, parameter in entries:
            if parameter and parameter.grid_fault:
                findings.refuse(path, parameter.grid_fault)
    if findings.violations:
        return None
    if prior and prior.configurations:
        config["prior"] = {**config["prior"], "configurations": [dict(given) for given in prior.configurations]}
    return SweepSpec(
        method=method,
        parameters=parameters,
        metric=metric,
        metrics=metrics,
        early_terminate=early_terminate,
        run_cap=run_cap,
        repeats=repeats,
        prior=prior,
        name=config.get("name"),
        description=config.get("description"),
        program=config.get("program"),
        config=config,
    )


def read_metric(findings: Findings, path: str, raw: Any) -> Metric | None:
    if not isinstance(raw, dict):
        example = f"{{name: {raw}, goal: minimize}}" if isinstance(raw, str) else "{name: …, goal: …}"
        findings.refuse(path, f"{show(raw)} is {describe_kind(raw)}, but must be a mapping such as {example}")
        return None
    findings.check_keys(path, raw, (field.name for field in fields(Metric)), "a metric")
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        given = f"{show(name)} is no text" if name is not None else "is required"
        findings.refuse(f"{path}.name", f"{given}; it is the name that training reports, such as val/loss")
    goal = findings.read_choice(f"{path}.goal", raw.get("goal", "minimize"), GOALS)
    target = findings.read_number(f"{path}.target", raw.get("target"))
    impute = findings.read_choice(f"{path}.impute", raw.get("impute", "worst"), IMPUTE)
    running = raw.get("impute_while_running", "false")
    running = findings.read_choice(f"{path}.impute_while_running", running, ("false", *IMPUTE))
    return Metric(str(name), goal, target, impute, False if running == "false" else running)


def read_metrics(findings: Findings, raw: Any) -> tuple[Metric, ...]:
    if not isinstance(raw, list) or len(raw) < 2:
        findings.refuse("metrics", f"{show(raw)} must be a list of two or more metrics; a single one is `metric`")
        return ()
    metrics = [read_metric(findings, f"metrics[{i}]", item) for i, item in enumerate(raw)]
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
