"""The data of single panels, besides the common data: analyses, attempts, failures and versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.convergence import assess_convergence
from wandbsweep.results.analysis.correlation import compute_correlation
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.savings import compute_savings
from wandbsweep.results.analysis.trial_matrix import TrialMatrix, build_trial_matrix
from wandbsweep.results.attempts import list_attempts
from wandbsweep.results.report.values import to_number, to_text
from wandbsweep.results.sweep_data import SweepData, has_goal
from wandbsweep.results.terminal.tables import format_achieved
from wandbsweep.sweep.provenance import read_provenance
from wandbsweep.trial import TrialRecord

_MAX_WINNERS = 30
_MAX_DOUBTFUL = 10
_MAX_FAILURES = 100
_MAX_TRACEBACK = 6_000
"""Characters of a traceback's end."""


def list_best(data: SweepData) -> list[dict[str, Any]]:
    """Return the best trial, or the Pareto front: what each achieved, its parameters and its command."""
    found = []
    for trial in data.winners[:_MAX_WINNERS]:
        try:
            command = data.command(trial)
        except SweepError as error:  # a value that cannot be written on a command line
            command = f"# {error}"
        params = [[name, to_text(value)] for name, value in trial.params.items()]
        achieved = format_achieved(data, trial)
        found.append({"n": trial.number, "achieved": achieved, "command": command, "params": params})
    return found


def build_analysis(data: SweepData) -> dict[str, Any] | None:
    """Return importance and correlation for each metric that the sweep optimizes, and whether it has converged.

    None if the sweep has no metric, or no trial has a value yet.
    """
    if not has_goal(data.spec):
        return None
    names: list[str | None] = [metric.name for metric in data.spec.metrics]
    found = []
    for name in names or [None]:
        try:
            matrix = build_trial_matrix(data, name)
        except SweepError:  # no trial has a value of this metric yet
            continue
        found.append((matrix, compute_importance(matrix)))
    if not found:
        return None
    convergence = assess_convergence(data, important=found[0][1])
    return {
        "metrics": [_build_associations(matrix, importance) for matrix, importance in found],
        "convergence": {
            "converged": convergence.converged,
            "stalled": convergence.stalled,
            "concentrated": convergence.concentrated,
            "since": convergence.trials_since_best,
            "patience": convergence.patience,
            "concentration": to_number(convergence.concentration),
            "reasons": list(convergence.reasons),
            "warning": convergence.warning,
        },
    }


def _build_associations(matrix: TrialMatrix, importance: Importance) -> dict[str, Any]:
    """Return a row for each parameter, the most important first, those of unknown importance last."""
    correlation = compute_correlation(matrix)
    rows = []
    for name in [*importance, *(name for name in matrix.parameters if name not in importance)]:
        interval = importance.intervals.get(name, (None, None))
        row: dict[str, Any] = {"name": name, "importance": [to_number(importance.get(name)), *map(to_number, interval)]}
        if association := correlation.get(name):
            row["kind"] = "sign" if association.kind == "correlation" else "ratio"
            row["linear"] = [to_number(association.linear), *map(to_number, association.linear_interval)]
            row["rank"] = [to_number(association.rank), *map(to_number, association.rank_interval)]
            row["means"] = [[value, to_number(mean)] for value, mean in association.means.items()]
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
    """Return agent, trial, attempt, start, end, state and reason of each attempt; times in seconds since the first."""
    attempts = list_attempts(data)
    first = min((attempt.started for attempt in attempts), default=0.0)

    def since_first(moment: float | None) -> float | None:
        return None if moment is None else round(moment - first, 3)

    return [
        [a.agent, a.number, a.attempt, since_first(a.started), since_first(a.ended), a.state, a.reason]
        for a in attempts
    ]


def list_failures(data: SweepData) -> list[dict[str, Any]]:
    failed = [t for t in data.trials if t.state in ("failed", "crashed")]
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


def format_sweep(data: SweepData) -> str:
    return data.spec.to_yaml()


def read_versions(data: SweepData) -> dict[str, Any]:
    """Return the versions that the sweep was started with, else today's: see ``sweep.provenance``."""
    return read_provenance(data.directory, Path(data.launch_record.application.cwd if data.launch_record else "."))
