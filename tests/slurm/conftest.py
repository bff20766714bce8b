"""A real SLURM, empty and complete for each test, and sweeps on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.slurm.cluster import Cluster
from tests.applications import copy_app
from tests.slurm.sweeper import Sweeper

ROOT = Path(__file__).parents[2]


@pytest.fixture
def slurm(slurm_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster. After the test its jobs are cancelled, and lost nodes are started again."""
    yield slurm_cluster
    slurm_cluster.cancel_all()
    slurm_cluster.up()


def make_sweeper(app: str, sweep: str, cluster: Cluster, place: Path) -> Sweeper:
    """Copy an application, with this repository's launchers, to run one of its sweeps."""
    directory = copy_app(app, place / app).directory
    shutil.copytree(ROOT / "conf" / "hydra", directory / "conf" / "hydra")
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=wandbsweep", f"sweep={sweep}"]
    return Sweeper(cluster, directory, command, place / "sweep")


@pytest.fixture
def tiny(slurm: Cluster, tmp_path: Path) -> Sweeper:
    """The tiny application, which imports no torch."""
    return make_sweeper("tiny", "random", slurm, tmp_path)


@pytest.fixture
def ddp(slurm: Cluster, tmp_path: Path) -> Sweeper:
    """The application whose trials are trained by several processes."""
    return make_sweeper("ddp", "grid", slurm, tmp_path)
