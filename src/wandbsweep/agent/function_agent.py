"""Agents that run the trials of a Python function, for ``wandbsweep.optimize``: no Hydra, one call per trial."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from wandbsweep.agent.fork_server import ForkServer
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.parent import end_with_parent
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.controllers.base import Controller
from wandbsweep.controllers.open import open_embedded
from wandbsweep.current import DIRECTORY
from wandbsweep.environment import set_variables
from wandbsweep.faults import TaskWatch, release_task
from wandbsweep.files import write_atomically
from wandbsweep.sweep.directory import TRACEBACK, read_spec
from wandbsweep.sweep.launch_record import ControllerOptions
from wandbsweep.text import escape_surrogates
from wandbsweep.trial import JobResult, RunJob, Trial, as_number

Function = Callable[[dict[str, Any]], Any]
"""Takes a trial's parameters, flat: dotted name -> value."""

STARTER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from wandbsweep.agent.function_agent import main; main()"
)
"""The program of a fresh interpreter that becomes an agent. Its argument is ``sys.path``; stdin has the agent."""


@dataclass(frozen=True)
class FunctionJob:
    """Runs a trial by a call of ``function``. The number that it returns is the trial's, if it reported none."""

    function: Function
    directory: Path
    """The sweep's directory. Each trial has a directory of its own in it; a failed one leaves its traceback there."""

    def __call__(self, trial: Trial) -> JobResult:
        place = self.directory / str(trial.number)
        place.mkdir(exist_ok=True)
        (place / TRACEBACK).unlink(missing_ok=True)  # an earlier attempt's
        watch = TaskWatch()
        try:
            with set_variables({DIRECTORY: str(place)}):
                return JobResult(returned=as_number(self.function(dict(trial.params))))
        except Exception as error:  # the function's own, whatever it is
            write_atomically(place / TRACEBACK, escape_surrogates(traceback.format_exc()))
            fault = watch.explain(error)
            release_task(error)  # before the next trial needs the memory
            return JobResult(error=fault.reason, cause=fault.cause, metrics=fault.metrics)


@dataclass(frozen=True)
class FunctionAgent:
    """An agent in a process of its own; each of its trials runs in a process that is forked for it."""

    name: str
    directory: Path
    options: ControllerOptions
    job: bytes
    """A pickled callable without arguments that returns a ``FunctionJob``."""
    parent: int
    """The process that starts the agent. The agent ends if this process ends."""
    argv: Sequence[str]
    """Its command line, which the function may read."""

    def run(self) -> None:
        """Run trials until the sweep is over."""
        spec, watch = read_spec(self.directory), SignalWatch()
        with closing(ForkServer(self.job, watch=watch)) as server:
            controller = open_embedded(self.directory, spec, self.options, study_name=self.directory.name)
            with closing(controller):
                run_function_trials(controller, server, self.directory, name=self.name, watch=watch, separate=True)


def pack_function(function: Function, directory: Path) -> bytes:
    """Pickle the job of ``function`` for ``FunctionAgent``; functions of ``__main__`` (a notebook's) are allowed."""
    packed: bytes = cloudpickle.dumps(partial(FunctionJob, function, directory))
    return packed


def run_function_trials(
    controller: Controller, run_job: RunJob, directory: Path, *, name: str, watch: SignalWatch, separate: bool
) -> None:
    """Run the trials of a function until the controller has no more.

    Args:
        controller: The sweep's controller.
        run_job: Runs a trial.
        directory: The sweep's directory.
        name: The agent's name.
        watch: The signals to obey.
        separate: Whether ``run_job`` runs each trial in a process of its own.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    spec = read_spec(directory)
    results = run_agent(
        controller,
        run_job,
        name=name,
        sweep_id=directory.name,
        metric=spec.metric.name if spec.metric else None,
        goal=spec.goal,
        watch=watch,
        separate=separate,
    )
    for _ in results:
        pass


def main() -> None:
    """Run the agent that standard input holds."""
    agent: FunctionAgent = pickle.load(sys.stdin.buffer)
    if not end_with_parent(agent.parent, signal.SIGTERM):  # SIGTERM, so that the trial is given back
        return
    sys.argv[:] = agent.argv
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        agent.run()
    except KeyboardInterrupt:
        sys.exit(130)
