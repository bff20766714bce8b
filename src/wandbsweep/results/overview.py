"""Many sweeps at once, a few facts about each: what ``wandbsweep list`` shows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepError
from wandbsweep.results.liveness import Liveness, find_liveness
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import format_achieved
from wandbsweep.sweep.directory import locate_storage, read_start_time
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.text import describe_error
from wandbsweep.trial import ENDED

_SLOW_S = 1.0
"""A database that has kept us waiting for so long, in vain, is not asked for further sweeps."""


@dataclass(frozen=True)
class SweepOverview:
    """What one line of the list says of a sweep."""

    directory: Path
    sweep_id: str
    started: float
    """When it was started, or its run_cap changed (Unix time)."""
    state: str = "unreadable"
    """``running``, ``waiting`` (it is not over, and no agent is alive), ``paused``, ``finished``, ``stopped``,
    ``cancelled``, ``aborted`` (its trials failed), ``at W&B`` (only its servers know), or ``unreadable``."""
    method: str = ""
    ended: int = 0
    """How many trials have ended."""
    cap: int | None = None
    """How many there can be."""
    best: str = ""
    """The best value, with the metric's name; empty: there is none."""
    best_trial: int | None = None
    best_value: float | None = None
    error: str = ""
    """Why the sweep cannot be read, in one line; empty: it can be."""


def read_overviews(directories: Sequence[Path]) -> Iterator[SweepOverview]:
    """Yield an overview of each sweep, also of one that cannot be read.

    A database that does not answer is asked once, however many of the sweeps are in it.
    """
    unreachable: dict[str, str] = {}
    for directory in directories:
        url, began = None, time.monotonic()
        try:
            url, _ = locate_storage(directory, LaunchRecord.load_if_exists(directory))
            if url in unreachable:
                raise SweepError(unreachable[url])
            overview = _summarize(SweepReader(directory).read())
        except Exception as error:  # drivers of databases have exceptions of their own, and any file may be damaged
            known = isinstance(error, SweepError)
            reason = " ".join(str(error).split()) if known else describe_error(error)
            if url is not None and time.monotonic() - began > _SLOW_S:
                unreachable[url] = reason
            overview = SweepOverview(directory, directory.name, read_start_time(directory), error=reason)
        yield overview


def _summarize(data: SweepData) -> SweepOverview:
    best = data.best
    configuration = data.find_configuration(best) if best else None
    value = configuration.mean if configuration else best.value if best and data.spec.metric else None
    return SweepOverview(
        data.directory,
        data.sweep_id,
        read_start_time(data.directory),
        _describe_state(data, find_liveness(data)),
        data.spec.method,
        sum(trial.state in ENDED for trial in data.trials),
        data.cap,
        f"{len(data.front)} on the Pareto front" if best and data.spec.metrics else _format_best(data),
        best.number if best else None,
        value,
    )


def _format_best(data: SweepData) -> str:
    return format_achieved(data, data.best) if data.best else ""


def _describe_state(data: SweepData, liveness: Liveness | None) -> str:
    """Return the state of a sweep in one word."""
    if liveness is None:
        return "at W&B"
    if liveness.failing:
        return "aborted"
    is_open = bool({"running", "queued"} & data.counts.keys())
    if liveness.completion and not is_open and liveness.command != "paused":
        return liveness.command if liveness.command in ("stopped", "cancelled") else "finished"
    if liveness.command == "paused":
        return "paused"
    return "running" if liveness.is_alive else "waiting"


def format_overview_json(overview: SweepOverview) -> dict[str, Any]:
    """Return what ``--json`` prints of one sweep."""
    best = None if overview.best_trial is None else {"number": overview.best_trial, "metric": overview.best_value}
    known = {
        "method": overview.method,
        "trials": overview.ended,
        "cap": overview.cap,
        "best": best,
    }
    return {
        "sweep_id": overview.sweep_id,
        "state": overview.state,
        **({"error": overview.error} if overview.error else known),
        "started": overview.started,
        "directory": str(overview.directory.absolute()),
    }
