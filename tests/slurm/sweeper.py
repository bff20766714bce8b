"""Runs an application's sweep on a SLURM cluster."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.slurm.cluster import Cluster
from tests.slurm import watch
from wandbsweep import SweepResults, open_sweep

TIMEOUT_S = 180
LAUNCHER = ["hydra/launcher=slurm_gpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"]
WATCH = "+hydra.callbacks.watch._target_=tests.slurm.watch.Watch"


@dataclass(frozen=True)
class Sweeper:
    """Runs an application's sweep on a cluster."""

    cluster: Cluster
    cwd: Path
    command: list[str]
    """What starts the sweep, without the overrides of a test."""
    directory: Path

    def start(self, *overrides: str, **environment: str) -> subprocess.Popen[str]:
        """Start the launching process, in a new session."""
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
        """Run a sweep to its end, which must be good."""
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
        """Where and when each execution of a trial ran: see ``watch.Watch``."""
        return watch.read(self.directory / str(number))

    def logs(self) -> str:
        """The ends of the jobs' logs."""
        files = sorted(self.directory.glob(".submitit/*/*_log.*"))
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)
