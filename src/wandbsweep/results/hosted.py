"""Sweeps of W&B's servers: read through W&B's public API, or from our agents' own log."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wandbsweep.controllers.hosted.decode import PREFIX, convert_hosted_config, decode_params, flatten_params, parse_ref
from wandbsweep.controllers.outcome import find_best_value
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import OUTPUTS, LaunchRecord
from wandbsweep.trial import ENDED, State, TrialRecord, as_number
from wandbsweep.wandb_runs.writer import STOP_REASON_KEY

_RUNS_PER_PAGE = 200
_MAX_SAMPLES = 10_000

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


def read_wandb_sweep(ref: str) -> SweepData:
    """Read all runs of the sweep ``wandb:entity/project/id`` from W&B, by any agent.

    If ``outputs/<id>`` is this sweep's directory, the overrides and commands of its trials are known as well.

    Raises:
        SweepDirectoryError: If W&B has no such sweep, or does not let us read it.
    """
    entity, project, sweep_id = parse_ref(ref)
    import wandb

    try:
        api: Any = wandb.Api()
        sweep = api.sweep("/".join(part for part in (entity, project, sweep_id) if part))
        spec = convert_hosted_config(sweep.config)
        filters = {"$and": [{"sweep": sweep_id}]}
        path = f"{sweep.entity}/{sweep.project}"
        runs = list(api.runs(path, filters=filters, order="+created_at", per_page=_RUNS_PER_PAGE, lazy=False))
    except (wandb.Error, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SweepDirectoryError(f"W&B does not give the sweep {ref[len(PREFIX) :]!r}: {reason}") from None
    directory = (OUTPUTS / sweep_id).absolute()
    numbers = number_runs([run.name for run in runs], sweep_id)
    trials = [convert_run(run, number, spec) for number, run in zip(numbers, runs, strict=True)]
    trials.sort(key=lambda trial: trial.number)
    return SweepData(directory, spec, trials, LaunchRecord.load_if_exists(directory))


def number_runs(names: Sequence[str | None], sweep_id: str) -> list[int]:
    """Return a trial number for each run, given the runs' names in order of creation.

    Our agents name a run after the sweep and the trial's number. Every other run, and a second one of the same name,
    gets the lowest free number.
    """
    pattern = re.compile(re.escape(sweep_id) + r"-(\d+)")
    taken: set[int] = set()
    found: list[int | None] = []
    for name in names:
        match = pattern.fullmatch(name or "")
        number = int(match[1]) if match else None
        found.append(None if number in taken else number)
        if number is not None:
            taken.add(number)
    free = (n for n in range(len(names) + max(taken, default=0) + 1) if n not in taken)
    return [next(free) if number is None else number for number in found]


def convert_run(run: Any, number: int, spec: SweepSpec) -> TrialRecord:
    """Return a run (``wandb.apis.public.Run``) as a trial; the steps of its reports are W&B's."""
    summary = {str(name): run.summary.get(name) for name in run.summary.keys()}  # noqa: SIM118  it is no mapping
    reason = str(summary.get(STOP_REASON_KEY, ""))
    state = _STATES.get(str(run.state).lower(), "crashed")
    state = "stopped" if reason and state == "finished" else state
    metric = spec.metric.name if spec.metric else None
    reports = _read_reports(run, metric, summary) if metric else {}
    last = as_number(summary.get(metric)) if metric else None
    values = [*reports.values(), *([last] if state in ENDED and last is not None else [])]
    flat = flatten_params(run.config, spec.parameters)
    config = {name: value for name, value in flat.items() if name in spec.parameters}
    started = _parse_time(getattr(run, "created_at", None))
    seconds = as_number(summary.get("_runtime"))
    ended = started + seconds if started is not None and seconds is not None and state in ENDED else None
    return TrialRecord(
        number=number,
        state=state,
        params=decode_params(spec.parameters, config),
        reports=reports,
        value=find_best_value(values, spec.goal),
        metrics=_read_metrics(summary),
        reason=reason,
        started=started,
        ended=ended,
    )


def _read_reports(run: Any, metric: str, summary: Mapping[str, Any]) -> dict[int, float]:
    """Return the metric's history by W&B's step.

    If a server cannot send whole histories, a sample is returned, or else only the last value.
    """
    if metric not in summary and run.state != "running":
        return {}
    ways: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (run.scan_history, {"keys": ["_step", metric]}),
        (run.history, {"keys": [metric], "samples": _MAX_SAMPLES, "pandas": False}),
    ]
    for read, options in ways:
        try:
            return _index_by_step(read(**options), metric)
        except Exception as error:  # wandb raises private exceptions of its service process
            log.info("The history of run %s cannot be read with %s: %s", run.id, read.__name__, error)
    last = as_number(summary.get(metric))
    return {} if last is None else {int(summary.get("_step", 0)): last}


def _index_by_step(rows: Iterable[Mapping[str, Any]], metric: str) -> dict[int, float]:
    found = {}
    for i, row in enumerate(rows):
        if (value := _parse_number(row.get(metric))) is not None:
            found[int(row.get("_step", i))] = value
    return found


def _parse_number(value: Any) -> float | None:
    """Return W&B's value as a number, or None. W&B writes NaN and infinities as text."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value.replace("Infinity", "inf"))
    return as_number(value)


def _read_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: _parse_number(value) for name, value in summary.items() if not name.startswith("_")}
    return {name: value for name, value in numbers.items() if value is not None and not math.isnan(value)}


def _parse_time(stamp: str | None) -> float | None:
    """Return Unix seconds; None if there is no time, or it cannot be read."""
    try:
        return datetime.fromisoformat(stamp or "").timestamp()
    except ValueError:
        return None
