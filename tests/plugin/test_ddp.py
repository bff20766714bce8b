"""Trials that are trained by processes that Lightning starts, or by the tasks of a launcher's job."""

from __future__ import annotations

import pytest

from tests.applications import App, MakeApp
from tests.apps.ddp.notes import notes


@pytest.fixture
def ddp(make_app: MakeApp) -> App:
    return make_app("ddp")


def both_trained_the_same(app: App, states: list[str]) -> None:
    trials = app.sweep().trials
    assert [(trial.state, trial.attempts) for trial in trials] == [(state, 1) for state in states]
    for trial in trials:
        directory = app.directory / "sweep" / str(trial.number)
        seen = [notes(directory, rank) for rank in (0, 1)]
        for rank in seen:
            assert [list(note)[-1] for note in rank] == ["began", "ended"]  # once
            assert all(note["params"] == trial.params == {"loss": note["cfg"]["loss"]} for note in rank)
        assert seen[0][0]["cfg"] == seen[1][0]["cfg"]
        assert seen[0][1]["ended"] == seen[1][1]["ended"] == 4 * len(trial.history)
        assert seen[0][0]["pid"] != seen[1][0]["pid"]
        assert {path.name for path in directory.glob("*.log")} == {"app.log", "app.rank1.log"}


@pytest.mark.parametrize("isolation", ["none"])  # process: under submitit_local below
def test_lightning_starts_the_other_rank(ddp: App, isolation: str) -> None:
    """Each time anew; a sweep is told once what to do, whatever Lightning runs again."""
    ddp.multirun("sweep=grid", "++sweep.run_cap=2", "hydra/launcher=basic", f"hydra.sweeper.isolation={isolation}")
    both_trained_the_same(ddp, ["finished", "stopped"])


def test_lightning_starts_the_other_rank_in_a_job(ddp: App) -> None:
    ddp.multirun("sweep=grid", "++sweep.run_cap=1", "hydra/launcher=submitit_local")
    both_trained_the_same(ddp, ["finished"])


@pytest.mark.parametrize("isolation", ["none"])  # process: on SLURM
def test_a_job_of_two_tasks(ddp: App, isolation: str) -> None:
    ddp.multirun("sweep=grid", *TWO_TASKS, f"hydra.sweeper.isolation={isolation}")
    both_trained_the_same(ddp, ["finished", "stopped", "finished"])


TWO_TASKS = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]


@pytest.mark.parametrize(
    ("act", "ended"),
    [
        pytest.param("die", ("finished", 2, ""), id="killed: begun again"),
        pytest.param("fail", ("failed", 1, "rank 1: ValueError: no luck with rank 1"), id="raised: why"),
    ],
)
def test_a_rank_that_ends_alone(ddp: App, act: str, ended: tuple[str, int, str]) -> None:
    status = int(ended[0] == "failed")
    ddp.multirun("sweep=grid", "++sweep.run_cap=1", *TWO_TASKS, f"act={act}", status=status)
    (trial,) = ddp.sweep().trials
    assert (trial.state, trial.attempts) == ended[:2]
    assert ended[2] in trial.reason
