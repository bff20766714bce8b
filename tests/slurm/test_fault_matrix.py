"""What kills agents, jobs and disks harms no trial: a part of ``matrix``, which does all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.slurm.cluster import Cluster
from tests.slurm import faults
from tests.slurm.held import PHASES, Counted, Sweep, made
from tests.slurm.matrix import random_kills

# The others are for `python -m tests.slurm.matrix`, which takes a quarter of an hour.
LOCAL = [
    "SIGKILL the trial's process",
    "SIGKILL the agent",
    "disk full while writing the journal",
    "everybody killed, the journal truncated mid-line",
]
ON_SLURM = ["node lost, its steps run on (zombies)", "scontrol requeue", "preemption by a higher partition"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_fault_at_every_phase(name: str, tmp_path: Path) -> None:
    with made(tmp_path / "sweep") as sweep:
        harmless(faults.run(sweep, faults.LOCAL[name]), sweep)


@pytest.mark.parametrize("name", ON_SLURM)
def test_a_fault_of_slurms_at_every_phase(name: str, slurm: Cluster, tmp_path: Path) -> None:
    with made(tmp_path / "sweep", cluster=slurm, launcher="slurm_gpu", overrides=faults.SLURM) as sweep:
        harmless(faults.run(sweep, faults.ON_SLURM[name]), sweep)


def test_processes_killed_at_random(tmp_path: Path) -> None:
    overrides = ["epoch_s=0.1", "hydra.sweeper.max_attempts=20"]
    with made(tmp_path / "sweep", trials=12, agents=2, held=False, overrides=overrides) as sweep:
        random_kills(sweep, kills=6, seed=1, pause_s=(0.2, 1.0))
        assert [(c.state, c.lost, c.duplicated) for c in sweep.account()] == [("finished", 0, 0)] * 12, sweep.said()


def harmless(cells: dict[str, Counted], sweep: Sweep) -> None:
    assert set(cells) == set(PHASES)
    for phase, counted in cells.items():
        assert (counted.lost, counted.duplicated) == (0, 0), f"{phase}: {counted}\n{sweep.said()}"
        assert counted.repeated <= 1, f"{phase}: {counted}\n{sweep.said()}"
