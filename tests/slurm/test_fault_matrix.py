"""What kills agents, jobs and disks harms no trial: a part of ``matrix``, which does all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.daemons import wait_until
from scripts.slurm.cluster import Cluster
from tests.slurm import matrix
from tests.slurm.conftest import TIMEOUT_S, Sweeper

# Those that take over a minute on their own are for `python -m tests.slurm.matrix`.
LOCAL = [
    "SIGKILL the trial's process",
    "SIGKILL the agent",
    "SIGKILL the launching process",
    "disk full while writing the journal",
    "everybody killed, the journal truncated mid-line",
    "clock jumps ahead a minute",
]
ON_SLURM = ["node lost, its steps run on (zombies)", "scontrol requeue", "preemption by a higher partition"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_fault_at_every_phase(name: str, tmp_path: Path) -> None:
    with matrix.made(tmp_path / "sweep") as sweep:
        harmless(matrix.run(sweep, matrix.LOCAL[name]), sweep)


@pytest.mark.parametrize("name", ON_SLURM)
def test_a_fault_of_slurms_at_every_phase(name: str, slurm: Cluster, tmp_path: Path) -> None:
    with matrix.made(tmp_path / "sweep", cluster=slurm, launcher="slurm_gpu", overrides=matrix.SLURM) as sweep:
        harmless(matrix.run(sweep, matrix.ON_SLURM[name]), sweep)


def test_processes_killed_at_random(tmp_path: Path) -> None:
    overrides = ["epoch_s=0.1", "hydra.sweeper.max_attempts=20"]
    with matrix.made(tmp_path / "sweep", trials=12, agents=2, held=False, overrides=overrides) as sweep:
        matrix.random_kills(sweep, kills=6, seed=1, pause_s=(0.2, 1.0))
        assert [(c.state, c.lost, c.duplicated) for c in sweep.account()] == [("finished", 0, 0)] * 12, sweep.said()


def harmless(cells: dict[str, matrix.Counted], sweep: matrix.Sweep) -> None:
    assert set(cells) == set(matrix.PHASES)
    for phase, counted in cells.items():
        assert (counted.lost, counted.duplicated) == (0, 0), f"{phase}: {counted}\n{sweep.said()}"
        assert counted.repeated <= 1, f"{phase}: {counted}\n{sweep.said()}"


def test_the_real_training_goes_on_after_a_requeue(training: Sweeper) -> None:
    with training.start("++sweep.run_cap=1", "trainer.max_epochs=40") as process:
        trial = training.directory / "0"
        wait_until(lambda: any(trial.rglob("last.ckpt")), "a checkpoint", within_s=TIMEOUT_S)
        (seen,) = training.watched(0)
        training.cluster.requeue(f"{seen['SLURM_ARRAY_JOB_ID']}_{seen['SLURM_ARRAY_TASK_ID']}")
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, f"{err}\n{training.logs()}"
    (record,) = training.results().trials
    assert (record.state, record.attempts, sorted(record.reports)) == ("finished", 2, list(range(40)))
