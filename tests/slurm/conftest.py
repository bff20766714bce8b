"""A real SLURM, which each test finds whole and empty, and sweeps on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.slurm.cluster import Cluster
from tests.slurm import watch
from wandbsweep import SweepResults, open_sweep

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "apps" / "tiny"
TIMEOUT_S = 180

LAUNCHER = ["hydra/launcher=slurm_gpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"]
WATCH = "+hydra.callbacks.watch._target_=tests.slurm.watch.Watch"


@pytest.fixture
def slurm(slurm_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster. After the test its jobs are cancelled, and its nodes are there again."""
    yield slurm_cluster
    slurm_cluster.cancel_all()
    slurm_cluster.up()


@dataclass(frozen=True)
class Sweeper:
    """Runs an application's sweep on a cluster, in a directory of its own."""

    cluster: Cluster
    cwd: Path
    command: list[str]
    """Without the overrides of a test."""
    directory: Path

    def start(self, *overrides: str, **environment: str) -> subprocess.Popen[str]:
        """The launching process, in a session of its own."""
        ours = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **self.cluster.environment}
        return subprocess.Popen(
            [*self.command, f"hydra.sweep.dir={self.directory}", *LAUNCHER, WATCH, *overrides],
            cwd=self.cwd,
            env={**os.environ, **ours, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *overrides: str, **environment: str) -> SweepResults:
        """Run a sweep to its end."""
        with self.start(*overrides, **environment) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
        assert process.returncode == 0, f"{out}\n{err}\n{self.logs()}"
        return self.results()

    def results(self) -> SweepResults:
        return open_sweep(self.directory)

    def watched(self, number: int) -> list[dict[str, Any]]:
        """Where and when a trial ran, each time that it did: see ``watch.Watch``."""
        return watch.read(self.directory / str(number))

    def logs(self) -> str:
        """What the jobs themselves said."""
        files = sorted(self.directory.glob(".submitit/*/*_log.*"))
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


@pytest.fixture
def training(slurm: Cluster, tmp_path: Path) -> Sweeper:
    """The repository's own ``train.py``: two epochs a trial, some 4 s of imports a job."""
    command = [sys.executable, "train.py", "-m", "hydra/sweeper=wandbsweep", "experiment=smoke", "sweep=random"]
    return Sweeper(slurm, ROOT, command, tmp_path / "sweep")


@pytest.fixture
def tiny(slurm: Cluster, tmp_path: Path) -> Sweeper:
    """A copy of the tiny application, which imports no torch, with this repository's launchers."""
    app = tmp_path / "tiny"
    shutil.copytree(TINY, app, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf" / "hydra", app / "conf" / "hydra")
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=wandbsweep", "sweep=random"]
    return Sweeper(slurm, app, command, tmp_path / "sweep")
