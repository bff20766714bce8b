"""The page's data in a form that JSON can hold: the common part here, each panel's own in ``panels.py``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from wandbsweep.results.doubts import describe_doubt
from wandbsweep.results.liveness import find_liveness
from wandbsweep.results.report.panels import MAX_POINTS, MIN_CURVE_POINTS, PANELS, thin_out, to_number, to_text
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import list_varied_parameters, shorten_names
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.text import join_words
from wandbsweep.trial import TrialRecord, is_number


def build_page_data(data: SweepData) -> dict[str, Any]:
    """Return everything that the page shows of a sweep."""
    spec = data.spec
    most = max(MIN_CURVE_POINTS, MAX_POINTS // max(1, len(data.trials)))
    axes = [_build_axis(name, label, data) for name, label in shorten_names(list_varied_parameters(data)).items()]
    return {
        "sweep_id": data.sweep_id,
        "directory": str(data.directory),
        "generated": time.time(),
        "name": spec.name,
        "description": spec.description,
        "method": spec.method,
        "goal": spec.goal,
        "metric": spec.metric.name if spec.metric else None,
        "target": spec.metric.target if spec.metric else None,
        "metrics": [{"name": m.name, "goal": m.goal} for m in spec.metrics],
        "run_cap": spec.run_cap,
        "stopper": spec.early_terminate.type if spec.early_terminate else None,
        "ranked": bool(spec.objectives),
        "running": bool({"running", "queued"} & data.counts.keys()),
        "counts": data.counts,
        "parameters": axes,
        "reported": sorted({name for trial in data.trials for name in trial.metrics}),
        "value_rule": data.value_rule,
        "doubt": describe_doubt(data),
        "trials": [_build_trial(trial, axes, data, most) for trial in data.trials],
        "order": [trial.number for trial in data.ranked],
        "thinned": any(len(trial.reports) > most for trial in data.trials),
        "completion": _build_completion(data),
        "wandbsweep": version("wandbsweep"),
        **{key: build(data) for panel in PANELS for key, build in panel.data.items()},
    }


def _build_completion(data: SweepData) -> dict[str, Any] | None:
    """Return why no more trials are given out; None if there are more, or if only W&B's servers know."""
    liveness = find_liveness(data)
    if liveness is None or not liveness.completion:
        return None
    return {"reason": liveness.failing or liveness.completion, "fails": bool(liveness.failing)}


def _build_axis(name: str, label: str, data: SweepData) -> dict[str, Any]:
    """Return how a parameter's values are laid out: listed ones next to each other, numbers on a scale."""
    parameter = data.spec.parameters.get(name)
    tried = [trial.params[name] for trial in data.trials if name in trial.params]
    values = _list_axis_values(parameter, tried)
    axis: dict[str, Any] = {"name": name, "label": label}
    if parameter is not None and parameter.when:
        axis["when"] = ", ".join(f"{p} is {join_words(allowed, 'or')}" for p, allowed in parameter.when)
    if values is not None:
        return {**axis, "kind": "list", "values": [to_text(value) for value in values]}
    assert parameter is not None
    ends = [parameter.ppf(0.0), parameter.ppf(1.0)]
    known = [*(ends if all(map(is_number, ends)) else []), *(float(value) for value in tried if is_number(value))]
    low, high = min(known, default=0.0), max(known, default=1.0)
    kind = "log" if "log" in parameter.distribution and low > 0 else "linear"
    return {**axis, "kind": kind, "low": low, "high": high, "whole": parameter.distribution == "int_uniform"}


def _list_axis_values(parameter: Parameter | None, tried: Sequence[Any]) -> list[Any] | None:
    """Return the values on a parameter's axis, in order; None if the axis is a scale of numbers."""
    if parameter is not None and parameter.values is None and all(map(is_number, tried)):
        return None
    values = [*(parameter.values or () if parameter else ()), *tried]
    distinct = list({grid_key(value): value for value in values}.values())
    return sorted(distinct) if all(map(is_number, distinct)) else distinct


def _build_trial(trial: TrialRecord, axes: Sequence[dict[str, Any]], data: SweepData, most: int) -> dict[str, Any]:
    """Return a trial, with its curve thinned out to at most ``most`` points."""
    spec, steps = data.spec, sorted(trial.reports)
    shown = thin_out(steps, most)
    configuration = data.find_configuration(trial)
    return {
        "n": trial.number,
        "state": trial.state,
        "value": to_number(trial.value),
        "params": [_place_on_axis(trial.params.get(axis["name"]), axis) for axis in axes],
        "metrics": {name: to_number(value) for name, value in trial.metrics.items()},
        "steps": len(steps),
        "curve": [shown, [to_number(trial.reports[step]) for step in shown]],
        "seconds": to_number(trial.duration_s),
        "at": data.find_step(trial) if spec.metric else None,
        "last": to_number(trial.last),
        "attempts": trial.attempts,
        "agent": trial.agent,
        "reason": trial.reason,
        **({"infeasible": infeasible} if (infeasible := spec.describe_infeasibility(trial)) else {}),
        **({"mean": to_number(configuration.mean)} if configuration else {}),
    }


def _place_on_axis(value: Any, axis: dict[str, Any]) -> int | float | str | None:
    """Return a value as its axis needs it: a number on a scale, or the text of a listed value.

    None means that the trial lacks the parameter, as a conditional one can. A listed null is a value, so it is text.
    """
    if axis["kind"] == "list":
        return None if value is None and "when" in axis else to_text(value)
    return float(f"{value:.8g}") if isinstance(value, float) else value
