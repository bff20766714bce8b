"""Trials that are trained by processes that Lightning starts, or by the tasks of a launcher's job."""

from __future__ import annotations

import sys

import pytest

from tests.applications import App, MakeApp
from tests.apps.ddp.notes import assert_both_trained_the_same


@pytest.fixture
def ddp(make_app: MakeApp) -> App:
    return make_app("ddp")


def check_both_ranks_trained(app: App, states: list[str]) -> None:
    trials = app.sweep().trials
    assert_both_trained_the_same(app.directory / "sweep", trials, states)
    for trial in trials:
        directory = app.directory / "sweep" / str(trial.number)
        assert {path.name for path in directory.glob("*.log")} == {"app.log", "app.rank1.log"}


def test_lightning_starts_the_other_rank(ddp: App) -> None:
    """For each trial again, in the agent's own process: what Lightning runs again is the trial, and not the sweep."""
    ddp.multirun("sweep=grid", "++sweep.run_cap=2", "hydra/launcher=basic")
    check_both_ranks_trained(ddp, ["finished", "stopped"])


@pytest.mark.slow
def test_lightning_starts_the_other_rank_of_a_module(ddp: App) -> None:
    """Lightning starts ranks by ``python -m`` if the application was started so."""
    command = [sys.executable, "-m", "app", "-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=grid"]
    assert ddp.shell([*command, "++sweep.run_cap=1", "hydra/launcher=basic"]).status == 0
    check_both_ranks_trained(ddp, ["finished"])


@pytest.mark.slow
def test_lightning_starts_the_other_rank_of_a_forked_trial(ddp: App) -> None:
    ddp.multirun("sweep=grid", "++sweep.run_cap=1", "hydra/launcher=submitit_local")
    check_both_ranks_trained(ddp, ["finished"])


def test_a_job_of_two_tasks(ddp: App) -> None:
    """In the agents' own processes; tests/slurm has the forked ones."""
    ddp.multirun("sweep=grid", *TWO_TASKS, "hydra.sweeper.isolation=none")
    check_both_ranks_trained(ddp, ["finished", "stopped", "finished"])


TWO_TASKS = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]


@pytest.mark.parametrize(
    ("act", "ended"),
    [
        pytest.param("die", ("finished", 2, ""), id="killed: begun again"),
        pytest.param("fail", ("failed", 1, "rank 1: ValueError: no luck with rank 1"), id="raised: why"),
    ],
)
@pytest.mark.slow
def test_a_rank_that_ends_alone(ddp: App, act: str, ended: tuple[str, int, str]) -> None:
    status = int(ended[0] == "failed")
    ddp.multirun("sweep=grid", "++sweep.run_cap=1", *TWO_TASKS, f"act={act}", status=status)
    (trial,) = ddp.sweep().trials
    assert (trial.state, trial.attempts) == ended[:2]
    assert ended[2] in trial.reason
