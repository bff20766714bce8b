"""The panels of the report, and what each shows besides the common data of ``data.py``.

This is the one place that names them. A new panel needs

1. a JavaScript file in this folder, which calls ``addPanel({id, nav, parts, draw})``: ``core.js`` documents what the
   panel adds to the page, and how it is drawn from ``data``;
2. an entry in ``PANELS`` at the end of this file, at its position on the page. If the panel shows something that the
   common data lack, the entry also has a key and a function that computes it from a ``SweepData``. The script reads
   the result as ``data.KEY``. JSON must be able to hold it: see ``to_number`` and ``to_text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandbsweep.controllers.trial_table import CLAIM, read_outcome
from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.convergence import assess_convergence
from wandbsweep.results.analysis.correlation import compute_correlation
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.savings import compute_savings
from wandbsweep.results.analysis.trial_matrix import TrialMatrix, build_trial_matrix
from wandbsweep.results.sweep_data import StoredSweep, SweepData
from wandbsweep.results.terminal.tables import format_achieved, format_short
from wandbsweep.sweep.provenance import read_provenance
from wandbsweep.trial import TrialRecord, is_number

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


def list_best(data: SweepData) -> list[dict[str, Any]]:
    """Return the best trial, or the Pareto front: what each achieved, its parameters and its command."""
    found = []
    for trial in data.winners[:_MAX_WINNERS]:
        command: str | None
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
    found = []
    for metric in data.spec.objectives:
        try:
            matrix = build_trial_matrix(data, metric.name)
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
    """Return agent, trial, attempt, start, end, state and reason of each attempt; times in seconds since the first.

    They are in the order of their starts. Without a storage, only the last attempt of each trial is known.
    """
    rows = list(_list_stored_attempts(data, data.stored)) if data.stored else []
    rows = rows or [[t.agent, t.number, t.attempts, t.started, t.ended, t.state, t.reason] for t in data.trials]
    rows = sorted((row for row in rows if row[3] is not None), key=lambda row: (row[3], row[1]))
    first = rows[0][3] if rows else 0.0
    return [
        [*facts, round(started - first, 3), None if ended is None else round(ended - first, 3), state, reason]
        for *facts, started, ended, state, reason in rows
    ]


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


def read_versions(data: SweepData) -> dict[str, Any]:
    """Return the versions that the sweep was started with, else today's: see ``sweep.provenance``."""
    return read_provenance(data.directory, Path(data.launch_record.application.cwd if data.launch_record else "."))


PANELS: Sequence[Panel] = (
    Panel("summary.js", {"best": list_best, "savings": build_savings}),
    Panel("parallel.js"),
    Panel("table.js"),
    Panel("importance.js", {"analysis": build_analysis}),  # summary.js and effects.js read it as well
    Panel("progress.js"),
    Panel("curves.js"),
    Panel("front.js"),
    Panel("effects.js"),
    Panel("timeline.js", {"attempts": list_attempt_rows}),
    Panel("failures.js", {"failures": list_failures}),
    Panel("origin.js", {"sweep_file": lambda data: data.spec.to_yaml(), "versions": read_versions}),
)
"""In the order of the page."""
