"""Detached sweeps run without the process that started them, and obey commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.daemons import wait_until
from tests.slurm.faults import SLURM
from tests.slurm.held import PATIENCE_S, Sweep, held_sweep
from wandbsweep.cli import main as cli
from wandbsweep.trial import TrialRecord

SECONDS = 15  # "within seconds", on a busy machine
TRIALS = 9


@pytest.fixture(params=["submitit_local", pytest.param("slurm_gpu", marks=pytest.mark.slow)])
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sweep]:
    """A detached sweep with two agents."""
    slurm = request.getfixturevalue("slurm") if request.param == "slurm_gpu" else None
    overrides = [*(SLURM if slurm else []), "hydra.sweeper.detach=true"]
    options = {"launcher": request.param, "overrides": overrides, "agents": 2, "trials": TRIALS}
    with held_sweep(tmp_path / "sweep", cluster=slurm, held=False, **options) as started:
        yield started


def test_a_detached_sweep_obeys_and_can_be_resumed(sweep: Sweep) -> None:
    assert sweep.wait(sweep.launch()) == 0, sweep.read_log()
    await_trials(sweep, 2)
    assert cli.main(["pause", str(sweep.directory)]) == 0
    wait_until(lambda: not running(sweep), "what runs to finish", within_s=SECONDS)
    before = ended(sweep)
    time.sleep(1.5)  # longer than the agents' interval of reading commands
    assert (ended(sweep), running(sweep)) == (before, 0)
    assert len(sweep.processes("agent")) == 2
    assert cli.main(["resume", str(sweep.directory)]) == 0
    await_trials(sweep, before + 1, within_s=SECONDS)
    assert cli.main(["stop", str(sweep.directory)]) == 0
    wait_until(lambda: not sweep.processes("agent"), "the agents to end", within_s=SECONDS)
    assert running(sweep) == 0
    assert ended(sweep) < TRIALS
    sweep.launcher, sweep.overrides = "basic", []  # in one process: submitit waits long for the results of its jobs
    assert sweep.resume_sweep() == 0, sweep.read_log()
    account = sweep.account()
    assert [(c.state, c.attempts, c.duplicated, c.repeated) for c in account] == [("finished", 1, 0, 0)] * TRIALS


def test_cancelling_ends_what_runs(sweep: Sweep) -> None:
    assert sweep.wait(sweep.launch("epochs=1000")) == 0, sweep.read_log()
    wait_until(lambda: running(sweep) == 2, "two trials to run", within_s=PATIENCE_S)
    assert cli.main(["cancel", str(sweep.directory)]) == 0
    wait_until(lambda: not sweep.processes("agent"), "the agents to end", within_s=SECONDS)
    records = sweep.read_table()[0].records()
    assert [(trial.state, trial.reason) for trial in records] == [("stopped", "the sweep was cancelled")] * 2


def await_trials(sweep: Sweep, count: int, *, within_s: float = PATIENCE_S) -> None:
    wait_until(lambda: ended(sweep) >= count, f"{count} trials to end", within_s=within_s)


def ended(sweep: Sweep) -> int:
    return sum(trial.ended is not None for trial in records(sweep))


def running(sweep: Sweep) -> int:
    return sum(trial.state == "running" for trial in records(sweep))


def records(sweep: Sweep) -> list[TrialRecord]:
    try:
        return sweep.read_table()[0].records()
    except KeyError:  # no agent has made the study yet
        return []
