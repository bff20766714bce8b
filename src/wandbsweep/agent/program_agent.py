"""Agents that run the program of a sweep file, for ``wandbsweep run``: no Hydra, one process per trial."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.parent import end_with_parent
from wandbsweep.agent.program_job import ProgramJob
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.agent.time_limit import TimeLimit
from wandbsweep.controllers.open import open_controller
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.sweep.directory import AGENTS, read_spec
from wandbsweep.sweep.launch_record import LaunchRecord

_DATABASE_S = 300.0  # as long as an agent with trials waits for a database that cannot be reached


@dataclass(frozen=True)
class ProgramAgent:
    """Joins the sweep in ``directory`` and runs its trials; submitit pickles it to where its jobs run."""

    directory: Path
    number: int
    """Which agent of the sweep it is."""
    count: int | None = None
    """How many trials it runs; None: until the sweep is over."""

    def __call__(self) -> list[tuple[int, object]]:
        """Run trials until the sweep is over. Returns nothing, since the storage has the results."""
        record, spec = LaunchRecord.load(self.directory), read_spec(self.directory)
        if not Path(record.application.cwd).is_dir():  # before a trial is asked for, which would fail
            raise SweepDirectoryError(
                f"{record.application.cwd}, in which the sweep's trials run, does not exist here."
            )
        watch = SignalWatch()
        with closing(open_controller(record, self.directory, spec, wait_s=_DATABASE_S)) as controller:
            results = run_agent(
                controller,
                ProgramJob(record, self.directory, spec, watch=watch),
                name=str(self.number),
                sweep_id=record.sweep_id,
                metric=spec.metric.name if spec.metric else None,
                goal=spec.goal,
                count=self.count,
                watch=watch,
                separate=True,
                worth_starting=TimeLimit.of_job().worth_starting,
            )
            for _ in results:
                pass
        return []


def make_command(agent: ProgramAgent) -> list[str]:
    """Return the command of a process that is ``agent``, and that ends with this one."""
    count = [] if agent.count is None else ["--count", str(agent.count)]
    place = [str(agent.directory), str(agent.number), "--parent", str(os.getpid())]
    return [sys.executable, "-m", "wandbsweep.agent.program_agent", *place, *count]


def main() -> int:
    """Be the agent that the command line describes."""
    parser = argparse.ArgumentParser(prog="python -m wandbsweep.agent.program_agent", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    if not end_with_parent(options.parent, signal.SIGTERM):  # SIGTERM, so that the trial is given back
        return 0
    log_to(options.directory / AGENTS / str(options.number) / "agent.log")
    try:
        ProgramAgent(options.directory, options.number, options.count)()
    except SweepError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def log_to(path: Path) -> None:
    """Write this process's log messages to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    format = "[%(asctime)s][%(name)s][%(levelname)s] %(message)s"
    logging.basicConfig(filename=path, format=format, level=logging.INFO, force=True)


if __name__ == "__main__":
    sys.exit(main())
