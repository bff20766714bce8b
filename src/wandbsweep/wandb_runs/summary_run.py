"""The summary run of an embedded sweep: leaderboard, best trial, sweep file and report, as one W&B run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wandbsweep.wandb_runs.writer import make_quiet_settings

JOB_TYPE = "sweep"
_INIT_TIMEOUT_S = 60


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
    """Write the summary run of ``sweep_id``, or write it again.

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
