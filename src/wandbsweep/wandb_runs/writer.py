"""Write W&B runs from our own processes: those of trials, and the summary run of an embedded sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from wandbsweep.wandb_runs.sweep_run import SweepRun

STOP_REASON_KEY = "wandbsweep/stopped"
"""Key in a run's summary: why the sweep stopped it early. W&B itself calls such a run finished."""
JOB_TYPE = "sweep"
"""Of a summary run."""
_INIT_TIMEOUT_S = 60


class RunWriter:
    """Writes the run of a trial whose training does not use wandb: the trial's reports become the run's history."""

    open: ClassVar[set[RunWriter]] = set()
    """The unfinished writers of this process."""

    def __init__(self, run: SweepRun, directory: Path) -> None:
        """Start or resume ``run``; wandb's files go to ``directory``."""
        import wandb

        directory.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            entity=run.entity,
            project=run.project,
            id=run.run_id,
            name=run.name,
            dir=str(directory),
            config={name: given["value"] for name, given in run.args.items()},
            resume="allow" if run.resumes else None,
            reinit="create_new",
            # stop_fn: by default wandb sends itself Ctrl-C; the agent learns of a stop from its heartbeat.
            settings=make_quiet_settings(sweep_id=run.sweep_id, stop_fn=lambda: None),
        )
        self.open.add(self)

    def writes(self, run: Any) -> bool:
        return run is self._run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append ``metrics`` to the history.

        ``step`` is logged as a metric: W&B's own step only rises, while a trial may report negative or earlier steps.
        """
        self._run.log({**metrics, "step": step})

    def finish(self, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None:
        """End the run.

        Args:
            exit_code: The status that W&B shows; 0 is a success.
            stopped: Why the sweep stopped the run early; empty: it did not.
            preempted: Whether W&B queues the run again; takes effect only with an ``exit_code`` other than 0.
        """
        if stopped:
            self._run.summary[STOP_REASON_KEY] = stopped
        if preempted:
            self._run.mark_preempting()
        try:
            self._run.finish(exit_code=exit_code)
        finally:
            self.open.discard(self)


def write_summary_run(
    sweep_id: str,
    *,
    page: Mapping[str, Any],
    mode: str,
    directory: Path,
    config: Mapping[str, Any],
    leaderboard: tuple[Sequence[str], Sequence[Sequence[Any]]],
    summary: Mapping[str, Any],
    files: Sequence[Path],
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the summary run of ``sweep_id``: leaderboard, best trial, sweep file and report, as one W&B run.

    It may be written again.

    Args:
        sweep_id: The sweep, which also names the run and, by default, its group.
        page: ``project``, ``entity``, ``group`` and ``tags`` of the run (``page.read_page_settings``).
        mode: ``online`` or ``offline``.
        directory: Where wandb writes its files.
        config: The sweep configuration.
        leaderboard: The columns and rows of a table.
        summary: The run's summary.
        files: The files of the artifact ``sweep-<sweep_id>``; they are copied.
        metadata: The artifact's metadata.

    Returns:
        The run's ``url``, or offline its ``directory``.
    """
    import wandb

    run = wandb.init(
        project=page.get("project"),
        entity=page.get("entity"),
        group=page.get("group") or sweep_id,
        tags=page.get("tags"),
        id=f"{sweep_id}-sweep",
        name=sweep_id,
        job_type=JOB_TYPE,
        mode=mode,  # type: ignore[arg-type]  # checked by wandb
        resume="allow" if mode == "online" else None,
        dir=str(directory),
        config={"sweep": config},
        settings=make_quiet_settings(init_timeout=_INIT_TIMEOUT_S),
    )
    columns, rows = leaderboard
    table = wandb.Table(columns=[*columns], data=[*rows], allow_mixed_types=True)
    run.log({"leaderboard": table})
    run.summary.update(dict(summary))
    artifact = wandb.Artifact(f"sweep-{sweep_id}", type="sweep", metadata=dict(metadata))
    for file in files:
        artifact.add_file(str(file), name=file.name)
    run.log_artifact(artifact, aliases=["latest"])
    place, url = Path(run.dir).parent, run.url
    run.finish()
    return {"url": url} if mode == "online" else {"directory": str(place)}


def make_quiet_settings(**more: Any) -> Any:
    """Return wandb settings that print nothing and do not measure the machine, which takes seconds."""
    import wandb

    return wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True, **more)
