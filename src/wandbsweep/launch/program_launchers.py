"""What starts the agents of ``wandbsweep run``: processes of this machine, or jobs of SLURM by submitit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wandbsweep.agent.program_agent import ProgramAgent, make_command
from wandbsweep.errors import SweepError
from wandbsweep.launch.agent_processes import run_processes
from wandbsweep.launchers import VISIBLE_DEVICES
from wandbsweep.text import join_words, suggest_matches

LAUNCHERS = {"local": "wandbsweep.launch.program_launchers.local", "slurm": "submitit.SlurmExecutor"}
"""By name, the class by which ``launchers.find_profile`` knows it."""

_GENERAL = (
    *("name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "timeout_min", "stderr_to_stdout"),
)
"""The options that submitit's executors share; the others are SLURM's alone."""
_DEFAULTS = {"timeout_min": 240, "slurm_max_num_timeout": 1000, "slurm_additional_parameters": {"requeue": True}}
"""At its time limit a job gives its trial back and is requeued."""


@dataclass(frozen=True)
class AgentExit:
    """How an agent's process or job ended; ``Session`` reads ``return_value``."""

    status: int

    @property
    def return_value(self) -> list[Any]:
        """Nothing, since the storage has the trials. Raises SweepError if the agent failed."""
        if self.status:
            raise SweepError(f"it exited with status {self.status}")
        return []


def parse_launcher_options(given: Sequence[str]) -> dict[str, Any]:
    """Return the options ``key=value``, with the values that YAML reads.

    Raises:
        SweepError: One of them has no ``=``.
    """
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise SweepError(f"--launcher-option: the value is {text!r}, but must be KEY=VALUE, such as partition=gpu")
        try:
            options[key.strip().lstrip("-").replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SweepError(f"--launcher-option {text}: {' '.join(str(error).split())}") from None
    return options


def launch_local(
    directory: Path, numbers: Sequence[int], count: int | None, devices: Sequence[str], grace_s: float
) -> list[AgentExit]:
    """Run agents as processes of this machine until all have ended.

    Args:
        directory: The sweep's directory.
        numbers: The agents' numbers.
        count: How many trials each of them runs; None: until the sweep is over.
        devices: ``CUDA_VISIBLE_DEVICES`` of each in turn; empty: this process's.
        grace_s: How long a trial may take to end.
    """
    commands = [make_command(ProgramAgent(directory, number, count)) for number in numbers]
    environments = [
        {**os.environ, VISIBLE_DEVICES: devices[k % len(devices)]} if devices else None for k in range(len(numbers))
    ]
    statuses = run_processes(commands, environments=environments, grace_s=grace_s)
    return [AgentExit(status) for status in statuses]


def make_slurm_executor(directory: Path, options: Mapping[str, Any]) -> Any:
    """Return submitit's executor for SLURM.

    Args:
        directory: The sweep's directory, in which jobs leave their logs.
        options: What the user has set: options of submitit's ``AutoExecutor``, those of SLURM with or without
            ``slurm_``.

    Raises:
        SweepError: submitit or SLURM is missing, or an option is not known.
    """
    try:
        import submitit
    except ImportError:
        raise SweepError("--launcher slurm needs submitit: pip install 'wandbsweep[slurm]'") from None
    named = {key if key in _GENERAL or key.startswith("slurm_") else f"slurm_{key}": v for key, v in options.items()}
    given = {**_DEFAULTS, **named}
    timeouts = given.pop("slurm_max_num_timeout")
    try:
        executor = submitit.AutoExecutor(
            directory / ".submitit" / "%j", cluster="slurm", slurm_max_num_timeout=timeouts
        )
    except RuntimeError:  # submitit's, if it finds no sbatch
        raise SweepError("--launcher slurm: there is no sbatch in PATH, so SLURM is not installed here.") from None
    known = {*_GENERAL, *(f"slurm_{key}" for key in submitit.SlurmExecutor._valid_parameters())}
    if unknown := [key for key in named if key not in {*known, "slurm_max_num_timeout"}]:
        own = sorted(key.removeprefix("slurm_") for key in known)
        meant = [suggest_matches(key.removeprefix("slurm_"), own) for key in unknown]
        names = join_words([key.removeprefix("slurm_") for key in unknown])
        raise SweepError(
            f"--launcher-option: {names} is no option of submitit's for SLURM{''.join(meant)}\n"
            f"There are {join_words(own)}; others of sbatch are additional_parameters={{mail-type: END}}."
        )
    executor.update_parameters(**given)
    return executor


def launch_slurm(executor: Any, directory: Path, numbers: Sequence[int], count: int | None) -> list[Any]:
    """Submit agents as one array of jobs, and wait until all have ended.

    Args:
        executor: What ``make_slurm_executor`` returned.
        directory: The sweep's directory.
        numbers: The agents' numbers.
        count: How many trials each of them runs; None: until the sweep is over.
    """
    with executor.batch():
        jobs = [executor.submit(SubmittedAgent(directory, number, count)) for number in numbers]
    return [job.results()[0] for job in jobs]


@dataclass(frozen=True)
class SubmittedAgent(ProgramAgent):
    """An agent that submitit requeues at its time limit, and after a preemption."""

    def __call__(self) -> Any:
        super().__call__()
        return AgentExit(0)

    def checkpoint(self) -> Any:
        """Return how the job continues when it is requeued: as the same agent."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
