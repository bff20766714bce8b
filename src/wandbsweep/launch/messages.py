"""The messages of the launching process when a sweep starts and when its agents have ended."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wandbsweep.launchers import Isolation
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import format_progress, make_console, print_best, print_leaderboard
from wandbsweep.sweep.directory import TRACEBACK
from wandbsweep.sweep.launch_record import Application
from wandbsweep.sweep.prepared import PreparedSweep
from wandbsweep.text import pluralize, show_name
from wandbsweep.trial import FAILED, SUCCEEDED, TrialRecord

_LEADERBOARD_ROWS = 10


def print_announcement(prepared: PreparedSweep) -> None:
    """Print what is launched, where, and how to join it."""
    created = "Joined" if prepared.joined else "Created"
    print(f"{created} sweep {prepared.record.sweep_id}: {_describe_sweep(prepared)}")
    print(f"Directory: {prepared.directory}")
    command = prepared.record.join_command(prepared.directory)
    print(f"Join it from another terminal or machine: {command}", flush=True)


def describe_start(agents: Sequence[int], application: Application, isolation: Isolation, *, queued: bool) -> str:
    """Return that agents start, and what each of them does first.

    Args:
        agents: Their numbers.
        application: What they run.
        isolation: Under ``process`` each of them imports the application.
        queued: Whether a scheduler decides when their jobs start.

    Returns:
        ``agent 0 is starting (importing train.py)``.
    """
    who = f"agent {agents[0]} is" if len(agents) == 1 else f"agents {agents[0]} to {agents[-1]} are"
    if queued:
        return f"{who} submitted, to start when the scheduler starts the job"
    script = os.path.basename(application.command[-1])
    return f"{who} starting" + (f" (importing {script})" if isolation == "process" else "")


@contextmanager
def hide_agents_as_jobs(launcher: object) -> Iterator[None]:
    """For a ``with`` block, keep a launcher from listing agents, which have no overrides, as its jobs: ``#0 :``."""

    def is_other(record: logging.LogRecord) -> bool:
        return re.match(r"\t#\d+ : |Launching \d+ jobs locally", record.getMessage()) is None

    module = type(launcher).__module__
    # joblib's launcher logs in a module next to its own.
    loggers = [logging.getLogger(name) for name in (module, f"{module.rpartition('.')[0]}._core")]
    for logger in loggers:
        logger.addFilter(is_other)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_other)


def print_result(data: SweepData, total: int | None) -> None:
    """Print the leaderboard, the counts and the best trial."""
    out = make_console()
    out.print()
    print_leaderboard(data, out, top=_LEADERBOARD_ROWS)
    out.print()
    out.print(format_progress(data, total), markup=False)
    if data.spec.objectives and any(trial.state in SUCCEEDED for trial in data.trials):
        print_best(data, out)


def describe_unfinished(data: SweepData, total: int | None, *, is_over: bool) -> str:
    """Return which trials are not done although the agents have ended; empty if all are.

    Args:
        data: The sweep.
        total: How many trials there can be; None: unknown.
        is_over: Whether no more trials are given out.

    Returns:
        A sentence.
    """
    running, queued = data.counts.get("running", 0), data.counts.get("queued", 0)
    parts = []
    if running:
        verb = "still shows" if running == 1 else "still show"
        parts.append(f"{pluralize(running, 'trial')} {verb} as running (another agent's, or lost with it)")
    if not is_over:
        waiting = {"given back": queued, "never started": 0 if total is None else total - sum(data.counts.values())}
        for how, count in waiting.items():
            if count > 0:
                subject = str(count) if parts else pluralize(count, "trial")
                parts.append(f"{subject} {'was' if count == 1 else 'were'} {how}")
        parts = parts or ["The sweep is not over"]
    return f"{'; '.join(parts)}." if parts else ""


def print_first_failure(data: SweepData, trials: Sequence[TrialRecord]) -> None:
    """Print the reason and the traceback of the first of ``trials`` that failed."""
    failed = next((trial for trial in trials if trial.state in FAILED), None)
    if failed is None:
        return
    print(f"Trial {failed.number}: {failed.reason}", file=sys.stderr)
    traceback = data.trial_directory(failed) / TRACEBACK
    if traceback.exists():
        print(f"\n{traceback.read_text(encoding='utf-8')}\n({traceback})", file=sys.stderr)


def _describe_sweep(prepared: PreparedSweep) -> str:
    spec = prepared.spec
    goal = "".join(f", {metric.goal} {show_name(metric.name)}" for metric in spec.objectives)
    cap = f", at most {pluralize(spec.run_cap, 'trial')}" if spec.run_cap else ""
    return f"{spec.method} over {pluralize(len(spec.parameters), 'parameter')}{goal}{cap}"
