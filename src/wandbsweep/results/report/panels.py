"""The panels of the report, and what each shows besides the common data of ``data.py``.

This is the one place that names them. A new panel needs

1. a JavaScript file in this folder, which calls ``addPanel({id, parts, draw})``: ``core.js`` documents what the panel
   adds to the page, and how it is drawn from ``data``;
2. an entry in ``PANELS`` at the end of this file, at its position on the page. If the panel shows something that the
   common data lack, the entry also has a key and a function that computes it from a ``SweepData``. The script reads
   the result as ``data.KEY``. JSON must be able to hold it: see ``to_number`` and ``to_text``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wandbsweep.controllers.trial_entry import CLAIM, read_outcome
from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.convergence import assess_convergence
from wandbsweep.results.analysis.correlation import compute_correlation, explain_difference
from wandbsweep.results.analysis.health import check_health, describe_verdict
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.partial_dependence import compute_partial_dependence
from wandbsweep.results.analysis.savings import compute_savings
from wandbsweep.results.analysis.trial_matrix import TrialMatrix, build_trial_matrix
from wandbsweep.results.sweep_data import StoredSweep, SweepData
from wandbsweep.results.terminal.tables import describe_achieved, describe_retraining, format_short
from wandbsweep.sweep.provenance import read_provenance
from wandbsweep.sweep.report_log import read_report_log, read_run_url
from wandbsweep.trial import FAILED, TrialRecord, is_number

MAX_POINTS = 120_000
"""The most points of all learning curves of one metric together. With more, each curve is thinned out, and the page
says so."""
MIN_CURVE_POINTS = 20

_MAX_WINNERS = 30
_MAX_DOUBTFUL = 10
_MAX_FAILURES = 100
_MAX_TRACEBACK = 6_000
"""Characters of a traceback's end."""


@dataclass(frozen=True)
class Panel:
    """One panel of the page."""

    script: str
    """Its JavaScript file in this folder."""
    data: Mapping[str, Callable[[SweepData], Any]] = field(default_factory=dict)
    """By key, the functions that compute its own data."""


def to_number(value: Any) -> int | float | None:
    """Return a number to eight digits; None for NaN and infinities, which JSON cannot hold."""
    if not is_number(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.8g}")


def to_text(value: Any) -> str:
    return format_short(value) if isinstance(value, float) else str(value)


def thin_out(steps: Sequence[int], most: int) -> Sequence[int]:
    """Return at most ``most`` of the steps, evenly, the first and the last among them."""
    if len(steps) <= most:
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def list_best(data: SweepData) -> list[dict[str, Any]]:
    """Return the best trial, or the Pareto front: what each achieved, and what training it again gives."""
    found = []
    for trial in data.winners[:_MAX_WINNERS]:
        params = [[name, to_text(value)] for name, value in trial.params.items()]
        checkpoint = data.find_checkpoint(trial)
        try:
            retraining = describe_retraining(data, trial)
        except SweepError:  # a value that cannot be written on a command line
            retraining = []
        found.append(
            {
                "n": trial.number,
                "achieved": describe_achieved(data, trial),
                "params": params,
                "checkpoint": None if checkpoint is None else str(checkpoint),
                "retraining": retraining,
            }
        )
    return found


def describe_trials(data: SweepData) -> list[dict[str, Any]]:
    """Return what the page tells of a trial that is selected: its command, and what lies in its directory."""
    found = []
    for trial in data.trials:
        try:
            command: str | None = data.command(trial)
        except SweepError as error:  # a value that cannot be written on a command line
            command = f"# {error}"
        directory = data.trial_directory(trial)
        logs = sorted(path.name for path in directory.glob("*.log"))
        url = read_run_url(data.directory, trial.number)
        found.append({"command": command, "logs": logs, "there": directory.is_dir(), "url": url})
    return found


def build_curves(data: SweepData) -> dict[str, Any]:
    """Return the curves of the metrics that are not the sweep's own, and when the steps were reported.

    The times are seconds of work: those between two attempts do not count.
    """
    own = data.spec.metric.name if data.spec.metric else None
    reports = {trial.number: read_report_log(data.directory, trial.number) for trial in data.trials}
    names = sorted({name for of in reports.values() for report in of.values() for name in report.metrics} - {own})
    spans: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for _, number, _, started, ended, *_ in _list_attempts(data):
        spans[number].append((started, math.inf if ended is None else ended))
    most = max(MIN_CURVE_POINTS, MAX_POINTS // max(1, len(data.trials)))
    curves: dict[str, dict[int, Any]] = {name: {} for name in names}
    seconds = {}
    for number, of in reports.items():
        steps = thin_out(list(of), most)
        if of:
            worked = [sum(max(0.0, min(end, of[step].at) - start) for start, end in spans[number]) for step in steps]
            seconds[number] = [steps, [round(time, 2) for time in worked]]
        for name in names:
            if known := thin_out([step for step, report in of.items() if name in report.metrics], most):
                curves[name][number] = [known, [_shorten(of[step].metrics[name]) for step in known]]
    return {"metrics": curves, "seconds": seconds}


def _shorten(value: float) -> float | None:
    return float(f"{value:.5g}") if is_number(value) else None


def build_analysis(data: SweepData) -> dict[str, Any]:
    """Return the health checks, and importance and correlation for each metric that the sweep optimizes.

    No trial may have a value of a metric yet: then it is not among ``metrics``. Whether the sweep has converged is
    judged by the first metric, and None without it.
    """
    found = []
    for metric in data.spec.objectives:
        try:
            matrix = build_trial_matrix(data, metric.name)
        except SweepError:  # no trial has a value of this metric yet
            continue
        if len(matrix):
            found.append((matrix, compute_importance(matrix)))
    convergence = assess_convergence(data, important=found[0][1]) if found else None
    return {
        "metrics": [_build_associations(matrix, importance) for matrix, importance in found],
        "health": [asdict(check) for check in check_health(data, convergence)],
        "verdict": None if convergence is None else describe_verdict(convergence),
    }


def _build_associations(matrix: TrialMatrix, importance: Importance) -> dict[str, Any]:
    """Return a row for each parameter, the most important first, those of unknown importance last."""
    correlation = compute_correlation(matrix)
    dependence = compute_partial_dependence(matrix)
    rows = []
    for name in [*importance, *(name for name in matrix.parameters if name not in importance)]:
        interval = importance.intervals.get(name, (None, None))
        row: dict[str, Any] = {"name": name, "importance": [to_number(importance.get(name)), *map(to_number, interval)]}
        if association := correlation.get(name):
            row["kind"] = "sign" if association.kind == "correlation" else "ratio"
            row["linear"] = [to_number(association.linear), *map(to_number, association.linear_interval)]
            row["rank"] = [to_number(association.rank), *map(to_number, association.rank_interval)]
            row["means"] = [[value, to_number(mean)] for value, mean in association.means.items()]
            row["differ"] = explain_difference(matrix, name, association)
        if along := dependence.get(name):
            is_list = matrix.parameters[name].values is not None
            row["dependence"] = [
                [to_text(value) if is_list else to_number(value) for value in along.values],
                *([to_number(float(number)) for number in numbers] for numbers in (along.mean, along.low, along.high)),
            ]
        rows.append(row)
    return {
        "metric": matrix.metric,
        "goal": matrix.goal,
        "method": importance.method,
        "warning": importance.warning,
        "notes": list(importance.notes),
        "rows": rows,
    }


def build_savings(data: SweepData) -> dict[str, Any] | None:
    """Return what early termination saved and may have cost; None if nothing was stopped."""
    savings = compute_savings(data)
    if not savings.stopped:
        return None
    return {
        "stopped": savings.stopped,
        "whole": savings.full_steps,
        "steps": savings.steps_saved,
        "share": to_number(savings.share_saved),
        "seconds": to_number(savings.seconds_saved),
        "doubtful": [[n, to_number(savings.chances[n])] for n in savings.doubtful[:_MAX_DOUBTFUL]],
        "mistakes": to_number(savings.expected_mistakes),
        "judged": len(savings.chances),
        "agreement": to_number(savings.agreement),
        "notes": list(savings.notes),
    }


def list_attempt_rows(data: SweepData) -> list[list[Any]]:
    """Return agent, trial, attempt, start, end, state and reason of each attempt; times in seconds since the first.

    They are in the order of their starts. Without a storage, only the last attempt of each trial is known.
    """
    rows = _list_attempts(data)
    first = rows[0][3] if rows else 0.0
    return [
        [*facts, round(started - first, 3), None if ended is None else round(ended - first, 3), state, reason]
        for *facts, started, ended, state, reason in rows
    ]


def _list_attempts(data: SweepData) -> list[list[Any]]:
    """Return the rows of ``list_attempt_rows`` with Unix times."""
    rows = list(_list_stored_attempts(data, data.stored)) if data.stored else []
    rows = rows or [[t.agent, t.number, t.attempts, t.started, t.ended, t.state, t.reason] for t in data.trials]
    return sorted((row for row in rows if row[3] is not None), key=lambda row: (row[3], row[1]))


def _list_stored_attempts(data: SweepData, stored: StoredSweep) -> Iterator[list[Any]]:
    states = {trial.number: trial.state for trial in data.trials}
    for attempt in stored.attempts:
        number = stored.table.find_number(attempt.key)
        if number is None:
            continue
        claim = attempt.attributes[CLAIM]
        if claim.get("retry"):  # no agent runs it
            continue
        state, reason, ended = states.get(number, "running"), "", attempt.ended
        if attempt.closed:  # queued: it was released, and another attempt follows
            outcome = read_outcome(attempt)
            state, reason = outcome.state, outcome.reason
            if outcome.lost and outcome.worked_s is not None and attempt.started is not None:
                ended = attempt.started + outcome.worked_s  # it was closed later, when it was missed
        yield [claim["agent"], number, claim["attempt"], attempt.started, ended, state, reason]


def list_failures(data: SweepData) -> list[dict[str, Any]]:
    failed = [t for t in data.trials if t.state in FAILED]
    return [
        {"n": t.number, "state": t.state, "reason": t.reason, "attempts": t.attempts, "text": _read_traceback(data, t)}
        for t in failed[:_MAX_FAILURES]
    ]


def _read_traceback(data: SweepData, trial: TrialRecord) -> str:
    try:
        text = (data.trial_directory(trial) / "traceback.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text if len(text) <= _MAX_TRACEBACK else f"…{text[-_MAX_TRACEBACK:]}"


def read_versions(data: SweepData) -> dict[str, Any]:
    """Return the versions that the sweep was started with, else today's: see ``sweep.provenance``."""
    return read_provenance(data.directory, Path(data.launch_record.application.cwd if data.launch_record else "."))


PANELS: Sequence[Panel] = (
    Panel("summary.js", {"best": list_best, "savings": build_savings}),
    Panel("health.js"),
    Panel("parallel.js"),
    Panel("table.js"),
    Panel("progress.js"),
    Panel("front.js"),
    Panel("curves.js", {"curves": build_curves}),
    Panel("importance.js", {"analysis": build_analysis}),  # other panels read it as well
    Panel("effects.js"),
    Panel("surface.js"),
    Panel("timeline.js", {"attempts": list_attempt_rows}),
    Panel("failures.js", {"failures": list_failures}),
    Panel("origin.js", {"sweep_file": lambda data: data.spec.to_yaml(), "versions": read_versions}),
    Panel("trial.js", {"details": describe_trials}),
)
"""In the order of the page."""
