"""Sweeps read back from W&B through its public API: ``open_sweep("wandb:entity/project/id")``."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from wandbsweep.controllers.hosted.log import HOSTED_LOG, TrialLog
from wandbsweep.controllers.hosted.lookup import PREFIX as PREFIX
from wandbsweep.controllers.hosted.lookup import parse_ref, spec_at_wandb
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.results.sweep_results import SweepResults
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.directory import OUTPUTS
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.trial import ENDED, State, TrialRecord, as_number, is_number

_PER_PAGE = 200
_SAMPLES = 10_000

_STATES: Mapping[str, State] = {
    "finished": "finished",
    "failed": "failed",
    "crashed": "crashed",
    "killed": "stopped",
    "running": "running",
    "preempting": "running",
    "pending": "queued",
    "preempted": "queued",
}

log = logging.getLogger(__name__)


def open_hosted_sweep(ref: str) -> SweepResults:
    """Read the sweep that ``wandb:entity/project/id`` names, all of its runs, whoever ran them.

    Where ``outputs/<id>`` is this sweep's directory, its overrides and commands are known as well. Raises
    SweepDirectoryError where W&B has no such sweep or does not let us read it.
    """
    entity, project, sweep_id = parse_ref(ref)
    import wandb

    try:
        api: Any = wandb.Api()
        sweep = api.sweep("/".join(part for part in (entity, project, sweep_id) if part))
        spec = spec_at_wandb(sweep.config)
        filters = {"$and": [{"sweep": sweep_id}]}
        place = f"{sweep.entity}/{sweep.project}"
        runs = list(api.runs(place, filters=filters, order="+created_at", per_page=_PER_PAGE, lazy=False))
    except (wandb.Error, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SweepDirectoryError(f"W&B does not give the sweep {ref[len(PREFIX) :]!r}: {reason}") from None
    directory = (OUTPUTS / sweep_id).absolute()
    trials = [
        record_of(run, number, spec)
        for number, run in zip(numbers([r.name for r in runs], sweep_id), runs, strict=True)
    ]
    trials.sort(key=lambda trial: trial.number)
    return SweepResults(directory, spec, trials, LaunchRecord.load_if_exists(directory))


def read_hosted(directory: str | os.PathLike[str], spec: SweepSpec) -> list[TrialRecord]:
    """The trials that our agents ran of the hosted sweep in ``directory``, without asking W&B."""
    metric = spec.metric.name if spec.metric else None
    return [entry.record(spec.goal) for entry in TrialLog(Path(directory, HOSTED_LOG), metric=metric).entries()]


def is_hosted(directory: str | os.PathLike[str]) -> bool:
    """Whether the sweep in ``directory`` is one of W&B's."""
    return Path(directory, HOSTED_LOG).exists()


def numbers(names: Sequence[str | None], sweep_id: str) -> list[int]:
    """A number for each run in order of creation: what our agents named it by, else the lowest that is free."""
    pattern = re.compile(re.escape(sweep_id) + r"-(\d+)")
    matches = [pattern.fullmatch(name or "") for name in names]
    named = [int(match[1]) if match else None for match in matches]
    taken: set[int] = set()
    found: list[int | None] = []
    for number in named:
        fresh = number is not None and number not in taken
        found.append(number if fresh else None)
        if number is not None and fresh:
            taken.add(number)
    free = (n for n in range(len(names) + max(taken, default=0) + 1) if n not in taken)
    return [next(free) if number is None else number for number in found]


def record_of(run: Any, number: int, spec: SweepSpec) -> TrialRecord:
    """``run`` (wandb.apis.public.Run) as a trial; its steps are W&B's."""
    from wandbsweep.controllers.hosted.decode import flattened, restored
    from wandbsweep.wandb_runs.writer import STOP_REASON_KEY

    summary = _plain(run.summary)
    reason = str(summary.get(STOP_REASON_KEY, ""))
    state = _STATES.get(str(run.state).lower(), "crashed")
    state = "stopped" if reason and state == "finished" else state
    metric = spec.metric.name if spec.metric else None
    reports = _reports(run, metric, summary) if metric else {}
    last = as_number(summary.get(metric)) if metric else None
    values = [*reports.values(), *([last] if state in ENDED and last is not None else [])]
    finite = [value for value in values if is_number(value)]
    best = (max if spec.goal == "maximize" else min)(finite, default=None)
    config = {name: value for name, value in flattened(run.config, spec.parameters).items() if name in spec.parameters}
    started = _time(getattr(run, "created_at", None))
    seconds = as_number(summary.get("_runtime"))
    ended = started + seconds if started is not None and seconds is not None and state in ENDED else None
    return TrialRecord(
        number=number,
        state=state,
        params=restored(spec.parameters, config),
        reports=reports,
        value=best,
        metrics=_metrics(summary),
        reason=reason,
        agent="",
        started=started,
        ended=ended,
    )


def _reports(run: Any, metric: str, summary: Mapping[str, Any]) -> dict[int, float]:
    """The metric's history by W&B's step; of a server without whole histories a sample, else the last value."""
    if metric not in summary and run.state != "running":
        return {}
    ways: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (run.scan_history, {"keys": ["_step", metric]}),
        (run.history, {"keys": [metric], "samples": _SAMPLES, "pandas": False}),
    ]
    for read, options in ways:
        try:
            return _by_step(read(**options), metric)
        except Exception as error:  # wandb lets its service's own exceptions through, which are private
            log.info("The history of run %s cannot be read that way: %s", run.id, error)
    last = as_number(summary.get(metric))
    return {} if last is None else {int(summary.get("_step", 0)): last}


def _by_step(rows: Iterable[Mapping[str, Any]], metric: str) -> dict[int, float]:
    found = {}
    for i, row in enumerate(rows):
        if (value := _number(row.get(metric))) is not None:
            found[int(row.get("_step", i))] = value
    return found


def _number(value: Any) -> float | None:
    """W&B writes what JSON has no number for as text."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value.replace("Infinity", "inf"))
    return as_number(value)


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: _number(value) for name, value in summary.items() if not name.startswith("_")}
    return {name: value for name, value in numbers.items() if value is not None and not math.isnan(value)}


def _plain(summary: Any) -> dict[str, Any]:
    return {str(name): summary.get(name) for name in summary.keys()}  # noqa: SIM118  W&B's summary is no mapping


def _time(stamp: str | None) -> float | None:
    if not stamp:
        return None
    try:
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.timestamp()
