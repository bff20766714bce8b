"""No fault harms a trial: a part of ``matrix``, which runs all faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.slurm.cluster import Cluster
from tests.slurm import faults
from tests.slurm.held import PHASES, Sweep, TrialAccount, held_sweep
from tests.slurm.matrix import random_kills

# `python -m tests.slurm.matrix` runs all, in a quarter of an hour.
LOCAL = [
    pytest.param("SIGKILL the trial's process", marks=pytest.mark.slow),
    "SIGKILL the agent",
    pytest.param("disk full while writing the journal", marks=pytest.mark.slow),
    pytest.param("all processes killed, the journal truncated mid-line", marks=pytest.mark.slow),
]
ON_SLURM = ["node lost, its steps continue", "scontrol requeue", "preemption by a higher partition"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_fault_at_every_phase(name: str, tmp_path: Path) -> None:
    with held_sweep(tmp_path / "sweep") as sweep:
        assert_harmless(faults.run(sweep, faults.LOCAL[name]), sweep)


@pytest.mark.parametrize("name", ON_SLURM)
@pytest.mark.slow
def test_a_fault_of_slurms_at_every_phase(name: str, slurm: Cluster, tmp_path: Path) -> None:
    with held_sweep(tmp_path / "sweep", cluster=slurm, launcher="slurm_gpu", overrides=faults.SLURM) as sweep:
        assert_harmless(faults.run(sweep, faults.ON_SLURM[name]), sweep)


@pytest.mark.slow
def test_processes_killed_at_random(tmp_path: Path) -> None:
    overrides = ["epoch_s=0.1", "hydra.sweeper.max_attempts=20"]
    with held_sweep(tmp_path / "sweep", trials=12, agents=2, held=False, overrides=overrides) as sweep:
        random_kills(sweep, kills=6, seed=1, pause_s=(0.2, 1.0))
        assert [(c.state, c.lost, c.duplicated) for c in sweep.account()] == [("finished", 0, 0)] * 12, sweep.read_log()


def assert_harmless(cells: dict[str, TrialAccount], sweep: Sweep) -> None:
    assert set(cells) == set(PHASES)
    for phase, counted in cells.items():
        assert (counted.lost, counted.duplicated) == (0, 0), f"{phase}: {counted}\n{sweep.read_log()}"
        assert counted.repeated <= 1, f"{phase}: {counted}\n{sweep.read_log()}"
