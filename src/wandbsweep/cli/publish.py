"""``python -m wandbsweep.cli.publish conclude SWEEP``: what W&B is told of an embedded sweep besides its runs.

A process of its own: ``wandb_page`` starts it, and a person may, after a sweep that was detached or went offline.
Prints one line of JSON; where it fails, one line to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wandbsweep.results.sweep_results import SweepResults, has_goal, open_sweep
from wandbsweep.spec.load import load_sweep
from wandbsweep.sweep.launch_record import LaunchRecord

JOB_TYPE = "sweep"
_INIT_S = 60


def leaderboard(results: SweepResults) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of the table: the trials, the best first, parameters under their own names.

    Of several metrics there is a column each; lists and mappings are JSON text.
    """
    spec = results.spec
    metrics = [metric.name for metric in spec.metrics] or [spec.metric.name if spec.metric else "value"]
    names = [*spec.parameters, *([spec.repeats.parameter] if spec.repeats else [])]
    columns = ["trial", "state", *(f"metric {name}" if name in names else name for name in metrics)]
    columns += ["steps", "seconds", "attempts", *names]
    rows = []
    for trial in results.ranked:
        values = [trial.metrics.get(name) for name in metrics] if spec.metrics else [trial.value]
        told = [trial.number, trial.state, *values, len(trial.reports), trial.duration_s, trial.attempts]
        rows.append([*told, *(_cell(trial.params.get(name)) for name in names)])
    return columns, rows


def conclude(directory: Path, mode: str) -> dict[str, Any]:
    """One W&B run of job type ``sweep`` in the group of the sweep's trials; written again, it is the same run.

    It has the leaderboard as a table, the best trial in its summary, the sweep file in its config, and an artifact of
    type ``sweep`` with the sweep file and the report. Returns its ``url``, or offline its ``directory``.
    """
    import wandb

    results = open_sweep(directory)
    page: Mapping[str, Any] = (results.plan.wandb if results.plan else None) or {}
    run = wandb.init(
        project=page.get("project"),
        entity=page.get("entity"),
        group=page.get("group") or results.sweep_id,
        tags=page.get("tags"),
        id=f"{results.sweep_id}-sweep",
        name=results.sweep_id,
        job_type=JOB_TYPE,
        mode=mode,  # type: ignore[arg-type]  # checked by wandb
        resume="allow" if mode == "online" else None,
        dir=str(directory),
        config={"sweep": results.spec.dump()},
        settings=_settings(),
    )
    columns, rows = leaderboard(results)
    run.log({"leaderboard": wandb.Table(columns=[*columns], data=rows, allow_mixed_types=True)})
    run.summary.update(_summary(results))
    run.log_artifact(_artifact(results), aliases=["latest"])
    place, url = Path(run.dir).parent, run.url
    run.finish()
    end(directory, mode)
    return {"url": url} if mode == "online" else {"directory": str(place)}


def begin(directory: Path, mode: str) -> dict[str, Any]:
    """A sweep at W&B that our controller decides: ``controller.type: local``. Its id, entity and project."""
    from wandbsweep.controllers.hosted.auth import read_login
    from wandbsweep.controllers.hosted.client import complete_login
    from wandbsweep.controllers.hosted.create import create_hosted_sweep
    from wandbsweep.controllers.hosted.transport import Wire

    results = open_sweep(directory)
    page: Mapping[str, Any] = (results.plan.wandb if results.plan else None) or {}
    spec = load_sweep({"name": results.sweep_id, **results.spec.dump(), "controller": {"type": "local"}})
    login = complete_login(Wire(read_login(entity=page.get("entity"), project=page.get("project"))))
    assert login.entity is not None
    assert login.project is not None
    made = create_hosted_sweep(spec, entity=login.entity, project=login.project)
    return {"sweep_id": made, "entity": login.entity, "project": login.project}


def end(directory: Path, mode: str) -> dict[str, Any]:
    """The sweep that ``begin`` made is finished at W&B as well."""
    plan = LaunchRecord.load_if_exists(directory)
    made = ((plan.wandb if plan else None) or {}).get("sweep")
    if made and mode == "online":
        from wandbsweep.controllers.hosted.auth import read_login
        from wandbsweep.controllers.hosted.client import SweepClient
        from wandbsweep.controllers.hosted.transport import Patience, Wire

        login = read_login(entity=made["entity"], project=made["project"])
        SweepClient(Wire(login, Patience(total_s=30.0)), made["sweep_id"]).set_state("FINISHED")
    return {}


def _artifact(results: SweepResults) -> Any:
    import wandb

    from wandbsweep.results.report import write

    artifact = wandb.Artifact(f"sweep-{results.sweep_id}", type="sweep", metadata={"trials": len(results.trials)})
    with tempfile.TemporaryDirectory() as place:
        report = write(results, Path(place, "report.html"))
        for file in (results.directory / "sweep.yaml", report):
            artifact.add_file(str(file), name=file.name)  # copied
    return artifact


def _summary(results: SweepResults) -> dict[str, Any]:
    best = results.best if has_goal(results.spec) else None
    counts = {f"trials/{state}": count for state, count in results.counts.items()}
    if best is None:
        return counts
    params = {f"best/{name}": _cell(value) for name, value in best.params.items()}
    return {**counts, "best/trial": best.number, "best/value": best.value, **params}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else value


def _settings() -> Any:
    import wandb

    return wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True, init_timeout=_INIT_S)


def main(arguments: Sequence[str]) -> int:
    from wandbsweep.wandb_runs.page import mode

    what, directory, *named = arguments
    try:
        answer = {"begin": begin, "conclude": conclude, "end": end}[what](Path(directory), *(named or [mode()]))
    except Exception as error:  # W&B's own kinds, and the network's
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)  # wandb would wait for what it cannot send
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
