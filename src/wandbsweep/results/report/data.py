"""What the page shows, as plain data: numbers that JSON has, and text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.convergence import assess_convergence
from wandbsweep.results.analysis.correlation import compute_correlation
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.savings import compute_savings
from wandbsweep.results.analysis.trial_matrix import TrialMatrix, build_trial_matrix
from wandbsweep.results.attempts import list_attempts
from wandbsweep.results.sweep_data import SweepData, has_goal
from wandbsweep.results.terminal.tables import format_achieved, format_short, shorten_names
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.provenance import read_provenance
from wandbsweep.text import join_words
from wandbsweep.trial import TrialRecord, is_number

POINTS = 120_000
"""Of all learning curves together; more are thinned out, evenly, and the page says so."""

_TRACEBACK = 6_000  # characters of a failure's end
_FAILURES = 100


def page_data(data: SweepData) -> dict[str, Any]:
    """Everything that the page shows of a sweep as it stood when it was read."""
    spec = data.spec
    kept = max(20, POINTS // max(1, len(data.trials)))
    names = [*_swept(spec), *([spec.repeats.parameter] if spec.repeats else [])]
    axes = [_axis(name, label, data) for name, label in shorten_names(names).items()]
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
        "ranked": has_goal(spec),
        "running": bool({"running", "queued"} & data.counts.keys()),
        "counts": data.counts,
        "parameters": axes,
        "reported": sorted({name for trial in data.trials for name in trial.metrics}),
        "trials": [_trial(trial, axes, data, kept) for trial in data.trials],
        "order": [trial.number for trial in data.ranked],
        "thinned": any(len(trial.reports) > kept for trial in data.trials),
        "best": _best(data),
        "analysis": _analysis(data),
        "savings": _savings(data),
        "attempts": _attempts(data),
        "failures": _failures(data),
        "sweep_file": spec.to_yaml(),
        "versions": read_provenance(
            data.directory, Path(data.launch_record.application.cwd if data.launch_record else ".")
        ),
    }


def number(value: Any) -> int | float | None:
    """A number to eight digits; None for what JSON has none for."""
    if value is None or not is_number(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.8g}")


def _swept(spec: SweepSpec) -> list[str]:
    return [name for name, p in spec.parameters.items() if p.distribution != "constant"]


def _axis(name: str, label: str, data: SweepData) -> dict[str, Any]:
    """How a parameter's values are laid out: listed ones side by side, numbers on a scale from end to end."""
    parameter = data.spec.parameters.get(name)
    tried = [trial.params[name] for trial in data.trials if name in trial.params]
    listed = _listed(parameter, tried)
    axis: dict[str, Any] = {"name": name, "label": label}
    if parameter is not None and parameter.when:
        axis["when"] = ", ".join(f"{p} is {join_words(values, 'or')}" for p, values in parameter.when)
    if listed is not None:
        return {**axis, "kind": "list", "values": [_text(value) for value in listed]}
    assert parameter is not None
    numbers = [float(value) for value in tried if is_number(value)]
    ends = [parameter.ppf(0.0), parameter.ppf(1.0)]
    ends = [end for end in ends if is_number(end)] if len([e for e in ends if is_number(e)]) == 2 else []
    low, high = (min([*ends, *numbers], default=0.0), max([*ends, *numbers], default=1.0))
    logarithmic = "log" in parameter.distribution and low > 0
    whole = parameter.distribution == "int_uniform"
    return {**axis, "kind": "log" if logarithmic else "linear", "low": low, "high": high, "whole": whole}


def _listed(parameter: Parameter | None, tried: Sequence[Any]) -> list[Any] | None:
    """The values that a parameter is shown by, in order; None: it is a number on a scale."""
    if parameter is not None and parameter.values is None and all(map(is_number, tried)):
        return None
    values = [*(parameter.values or () if parameter else ()), *tried]
    distinct = list({grid_key(value): value for value in values}.values())
    return sorted(distinct) if all(map(is_number, distinct)) else distinct


def _text(value: Any) -> str:
    return format_short(value) if isinstance(value, float) else str(value)


def _trial(trial: TrialRecord, axes: Sequence[dict[str, Any]], data: SweepData, kept: int) -> dict[str, Any]:
    steps = sorted(trial.reports)
    chosen = steps if len(steps) <= kept else [steps[round(i * (len(steps) - 1) / (kept - 1))] for i in range(kept)]
    configuration = data.find_configuration(trial)
    mean = {"mean": number(configuration.mean)} if configuration else {}
    return {
        "n": trial.number,
        "state": trial.state,
        "value": number(trial.value),
        "params": [_shown(trial.params.get(axis["name"]), axis) for axis in axes],
        "metrics": {name: number(value) for name, value in trial.metrics.items()},
        "steps": len(steps),
        "curve": [chosen, [number(trial.reports[step]) for step in chosen]],
        "seconds": number(trial.duration_s),
        "attempts": trial.attempts,
        "agent": trial.agent,
        "reason": trial.reason,
        **mean,
    }


def _shown(value: Any, axis: dict[str, Any]) -> int | float | str | None:
    """A value as its axis has it: a number on a scale, the text of a listed one; None: the trial has none.

    A listed null is there, as text; a parameter whose condition does not hold is not.
    """
    if axis["kind"] == "list":
        return None if value is None and "when" in axis else _text(value)
    return float(f"{value:.8g}") if isinstance(value, float) else value


def _best(data: SweepData) -> list[dict[str, Any]]:
    winners = data.front if data.spec.metrics else [data.best] if data.best else []
    found = []
    for trial in winners[:30]:
        try:
            command = data.command(trial)
        except SweepError as error:  # a value that the command line has no way to write
            command = f"# {error}"
        params = [[name, _text(value)] for name, value in trial.params.items()]
        found.append(
            {"n": trial.number, "achieved": format_achieved(data, trial), "command": command, "params": params}
        )
    return found


def _analysis(data: SweepData) -> dict[str, Any] | None:
    """Of each metric that the sweep optimises: importance beside correlation; and whether it has converged."""
    if not has_goal(data.spec):
        return None
    names: list[str | None] = [m.name for m in data.spec.metrics]
    found = []
    for name in names or [None]:
        try:
            matrix = build_trial_matrix(data, name)
        except SweepError:  # none of the trials has it yet
            continue
        found.append((matrix, compute_importance(matrix)))
    if not found:
        return None
    verdict = assess_convergence(data, important=found[0][1])
    return {
        "metrics": [_associations(matrix, important) for matrix, important in found],
        "convergence": {
            "converged": verdict.converged,
            "stalled": verdict.stalled,
            "concentrated": verdict.concentrated,
            "since": verdict.trials_since_best,
            "patience": verdict.patience,
            "concentration": number(verdict.concentration),
            "reasons": list(verdict.reasons),
            "warning": verdict.warning,
        },
    }


def _associations(matrix: TrialMatrix, important: Importance) -> dict[str, Any]:
    correlated = compute_correlation(matrix)
    ordered = [*important, *(name for name in matrix.parameters if name not in important)]
    rows = []
    for name in ordered:
        low, high = important.intervals.get(name, (None, None))
        row: dict[str, Any] = {"name": name, "importance": [number(important.get(name)), number(low), number(high)]}
        if a := correlated.get(name):
            row["kind"] = "sign" if a.kind == "correlation" else "ratio"
            row["linear"] = [number(a.linear), *map(number, a.linear_interval)]
            row["rank"] = [number(a.rank), *map(number, a.rank_interval)]
            row["means"] = [[value, number(mean)] for value, mean in a.means.items()]
        rows.append(row)
    return {
        "metric": matrix.metric,
        "goal": matrix.goal,
        "method": important.method,
        "warning": important.warning,
        "notes": list(important.notes),
        "rows": rows,
    }


def _savings(data: SweepData) -> dict[str, Any] | None:
    saved = compute_savings(data)
    if not saved.stopped:
        return None
    return {
        "stopped": saved.stopped,
        "whole": saved.full_steps,
        "steps": saved.steps_saved,
        "share": number(saved.share_saved),
        "seconds": number(saved.seconds_saved),
        "doubtful": [[n, number(saved.chances[n])] for n in saved.doubtful[:10]],
        "mistakes": number(saved.expected_mistakes),
        "judged": len(saved.chances),
        "agreement": number(saved.agreement),
        "notes": list(saved.notes),
    }


def _attempts(data: SweepData) -> list[list[Any]]:
    """Agent, trial, attempt, start, end, state; the times in seconds since the first start."""
    found = list_attempts(data)
    first = min((a.started for a in found), default=0.0)
    return [
        [a.agent, a.number, a.attempt, _since(a.started, first), _since(a.ended, first), a.state, a.reason]
        for a in found
    ]


def _since(moment: float | None, first: float) -> float | None:
    return None if moment is None else round(moment - first, 3)


def _failures(data: SweepData) -> list[dict[str, Any]]:
    failed = [t for t in data.trials if t.state in ("failed", "crashed")]
    return [
        {"n": t.number, "state": t.state, "reason": t.reason, "attempts": t.attempts, "text": _traceback(data, t)}
        for t in failed[:_FAILURES]
    ]


def _traceback(data: SweepData, trial: TrialRecord) -> str:
    try:
        text = (data.trial_directory(trial) / "traceback.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text if len(text) <= _TRACEBACK else f"…{text[-_TRACEBACK:]}"
