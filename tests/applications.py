"""Applications of `tests/apps`, each copied to a directory of its own and run in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep import SweepResults, open_sweep

APPS = Path(__file__).parent / "apps"
TIMEOUT_S = 120

AGENTS = {
    "basic": ["hydra/launcher=basic"],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.agents=2"],
    "submitit_local": ["hydra/launcher=submitit_local", "hydra.sweeper.agents=2"],
}
"""Overrides for each launcher: two agents, but for basic, which runs them one after another."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def refused(self, *, status: int = 2) -> str:
        """What it said to the user, being sure that it ended for a reason that it names, not with a traceback."""
        assert self.status == status, self
        assert "Traceback" not in self.out + self.err, self
        return self.err


@dataclass(frozen=True)
class App:
    """A copy of an application of ``tests/apps``, in which nobody else writes."""

    directory: Path
    file: str = "app.py"

    def run(self, *arguments: str, **environment: str) -> Ended:
        return self.shell([sys.executable, self.file, *arguments], **environment)

    def shell(self, command: str | list[str], *, timeout_s: float = TIMEOUT_S, **environment: str) -> Ended:
        done = subprocess.run(
            command,
            shell=isinstance(command, str),
            cwd=self.directory,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def multirun(self, *arguments: str, status: int = 0, into: str | None = "sweep", **environment: str) -> Ended:
        """Run a sweep in the directory ``into``; None: where the application says."""
        place = [] if into is None else [f"hydra.sweep.dir={into}"]
        ended = self.run("-m", "hydra/sweeper=wandbsweep", *place, *arguments, **environment)
        assert ended.status == status, f"{ended.out}\n{ended.err}"
        return ended

    def sweep(self, into: str = "sweep") -> SweepResults:
        return open_sweep(self.directory / into)

    def params(self, into: str = "sweep") -> dict[int, dict[str, Any]]:
        """The trials' parameters by number."""
        return {trial.number: dict(trial.params) for trial in self.sweep(into).trials}

    def states(self, into: str = "sweep") -> list[str]:
        return [trial.state for trial in self.sweep(into).trials]

    def result(self, number: int | str, into: str = "sweep") -> Any:
        """What the trial wrote into its directory."""
        return json.loads((self.directory / into / str(number) / "result.json").read_text())

    def results(self, into: str = "sweep") -> list[Any]:
        return [self.result(trial.number, into) for trial in self.sweep(into).trials]

    def environment(self, **environment: str) -> dict[str, str]:
        binaries = str(Path(sys.executable).parent)
        path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **environment}


def copy_app(name: str, directory: Path, file: str = "app.py") -> App:
    """Copy an application to ``directory``, which must not exist."""
    shutil.copytree(APPS / name, directory, ignore=shutil.ignore_patterns("__pycache__"))
    return App(directory, file)


MakeApp = Callable[..., App]
"""Copies the application of a name, with the file that is run."""
