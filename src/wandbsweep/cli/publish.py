"""``python -m wandbsweep.cli.publish conclude SWEEP``: publish an embedded sweep at W&B, beyond its trials' runs.

``wandb_runs.page`` runs this in a process of its own; a user may run it after a sweep that was detached or offline.
It prints one line of JSON, or one line on standard error if it fails.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import describe_state
from wandbsweep.spec.load import load_sweep
from wandbsweep.sweep.launch_record import LaunchRecord


def make_leaderboard(data: SweepData) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of the leaderboard: one trial a row, the best first.

    Parameters keep their own names; each of several metrics has a column; lists and mappings are JSON text.
    """
    spec = data.spec
    metrics = [metric.name for metric in spec.objectives] or ["value"]
    names = [*spec.parameters, *([spec.repeats.parameter] if spec.repeats else [])]
    columns = ["trial", "state", *(f"metric {name}" if name in names else name for name in metrics)]
    columns += ["steps", "seconds", "attempts", *names]
    rows = []
    for trial in data.ranked:
        costs = [len(trial.reports), trial.duration_s, trial.attempts]
        params = [_format_cell(trial.params.get(name)) for name in names]
        rows.append([trial.number, describe_state(trial, data), *data.list_values(trial), *costs, *params])
    return columns, rows


def begin(directory: Path, mode: str) -> dict[str, Any]:
    """Create the sweep page: a W&B sweep with ``controller.type: local``, in which W&B decides nothing.

    Returns its ``sweep_id``, ``entity`` and ``project``.
    """
    from wandbsweep.controllers.hosted.sweeps import create_hosted_sweep
    from wandbsweep.wandb_runs.auth import read_login

    data = SweepReader(directory).read()
    page = _read_page(data.launch_record)
    spec = load_sweep({"name": data.sweep_id, **data.spec.dump(), "controller": {"type": "local"}})
    login = read_login(entity=page.get("entity"), project=page.get("project"))
    return asdict(create_hosted_sweep(spec, login))


def conclude(directory: Path, mode: str) -> dict[str, Any]:
    """Write the summary run and finish the sweep page. Returns the run's ``url``, or offline its ``directory``."""
    from wandbsweep.results.report.page import write_report
    from wandbsweep.wandb_runs.writer import write_summary_run

    data = SweepReader(directory).read()
    with tempfile.TemporaryDirectory() as place:
        report = write_report(data, Path(place, "report.html"))
        written = write_summary_run(
            data.sweep_id,
            page=_read_page(data.launch_record),
            mode=mode,
            directory=directory,
            config=data.spec.dump(),
            leaderboard=make_leaderboard(data),
            summary=_summarize(data),
            files=[data.directory / "sweep.yaml", report],
            metadata={"trials": len(data.trials)},
        )
    end(directory, mode)
    return written


def end(directory: Path, mode: str) -> dict[str, Any]:
    """Finish the sweep page that ``begin`` created, if there is one."""
    sweep = _read_page(LaunchRecord.load_if_exists(directory)).get("sweep")
    if sweep and mode == "online":
        from wandbsweep.controllers.hosted.client import SweepClient
        from wandbsweep.controllers.hosted.transport import BACKOFF, Transport
        from wandbsweep.wandb_runs.auth import read_login

        login = read_login(entity=sweep["entity"], project=sweep["project"])
        client = SweepClient(Transport(login, replace(BACKOFF, total_s=30.0)), sweep["sweep_id"])
        client.set_state("FINISHED")
    return {}


def _read_page(record: LaunchRecord | None) -> Mapping[str, Any]:
    return (record and record.wandb) or {}


def _summarize(data: SweepData) -> dict[str, Any]:
    best = data.best
    counts = {f"trials/{state}": count for state, count in data.counts.items()}
    if best is None:
        return counts
    params = {f"best/{name}": _format_cell(value) for name, value in best.params.items()}
    return {**counts, "best/trial": best.number, "best/value": best.value, **params}


def _format_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else value


def main(arguments: Sequence[str]) -> int:
    from wandbsweep.wandb_runs.page import find_mode

    action, directory, *rest = arguments
    mode = rest[0] if rest else find_mode()
    try:
        answer = {"begin": begin, "conclude": conclude, "end": end}[action](Path(directory), mode)
    except Exception as error:  # wandb's own exceptions are partly private, and the network has more
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)  # a normal exit would wait for wandb to send what it cannot send
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
