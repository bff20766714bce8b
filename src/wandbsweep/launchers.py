"""The launchers that wandbsweep knows, with one profile each. To support another launcher, add an entry.

The launching process finds the profile by the launcher's class. An agent's process does not know the class. It reads
from its environment whether a launcher's scheduler runs it, as which rank, and until when.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from wandbsweep.errors import SweepError

Isolation = Literal["process", "none"]

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Rank:
    """Which task of its launcher's job this process is."""

    number: int = 0
    size: int = 1
    local: int = 0
    """Its number among the tasks of its node."""
    nodes: int = 1
    """How many nodes the tasks are on."""
    found_by_torch: bool = True
    """Whether torch and Lightning read rank and world size from the scheduler themselves."""


@dataclass(frozen=True)
class LauncherProfile:
    """The properties of one launcher; the defaults suit a launcher that is not listed."""

    name: str
    """How ``hydra/launcher=`` names it."""
    pattern: str = ".*"
    """A regular expression that matches all of ``hydra.launcher._target_``."""
    detachable: bool = False
    """Whether its jobs survive the process that submitted them."""
    shares_terminal: bool = True
    """Whether its jobs write to the launching terminal."""
    limit_key: str | None = None
    """The key of ``hydra.launcher`` that limits how many of its jobs run at once; None: it has none."""
    assigns_gpus: bool = False
    """Whether its scheduler gives each job its GPUs."""
    isolation: Isolation = "process"
    """The isolation that ``hydra.sweeper.isolation=null`` means."""
    preemption_signal: signal.Signals | None = None
    """The signal on which its jobs save, requeue themselves and end."""
    read_rank: Callable[[], Rank | None] = lambda: None
    """Returns this process's rank; None if the launcher does not run it."""
    read_deadline: Callable[[], float | None] = lambda: None
    """Returns the Unix time at which this process's job is ended; None if there is none, or the launcher does not run
    this process."""
    read_requeue_id: Callable[[], str] = lambda: ""
    """Returns ``JOB:RESTARTS``, which tells the starts of a requeued job apart; empty if the launcher does not run this
    process."""
    explain_memory_kill: Callable[[str], str] = lambda job: ""
    """Returns how a scheduler ended a job because its memory ran out; empty: it did not, or that is not known."""


def _read_submitit_rank(executor: str) -> Rank | None:
    if os.environ.get("SUBMITIT_EXECUTOR") != executor:
        return None
    try:
        from submitit import JobEnvironment  # a process of submitit's has imported it already

        job = JobEnvironment()
    except (ImportError, RuntimeError):  # the variable is inherited, and not about this process
        return None
    # torch reads SLURM's variables itself, but only submitit reads those of its local executor.
    slurm = executor == "slurm"
    return Rank(job.global_rank, job.num_tasks, job.local_rank, job.num_nodes if slurm else 1, found_by_torch=slurm)


def _read_slurm_deadline() -> float | None:
    if "SLURM_JOB_ID" not in os.environ:
        return None
    stated = os.environ.get("SLURM_JOB_END_TIME", "")  # since SLURM 22.05.6
    if stated.isdigit():
        return float(stated)
    try:
        asked = subprocess.run(
            ["squeue", "--noheader", "--format=%e", f"--jobs={os.environ['SLURM_JOB_ID']}"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # In the cluster's time zone, which is this process's; "N/A" or "Unknown" if there is no end.
    found = re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", asked.stdout)
    return datetime.fromisoformat(found[0]).timestamp() if found else None


def _read_slurm_requeue_id() -> str:
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}:{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def _explain_slurm_memory_kill(job: str) -> str:
    asks = (
        ["sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={job}"],
        ["scontrol", "--oneliner", "show", "job", job],  # for clusters without accounting, some minutes long
    )
    for command in asks:
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        if re.search(r"^(?:.*\bJobState=)?OUT_OF_MEMORY", asked.stdout, re.MULTILINE):
            return f"out of memory: SLURM ended job {job} at its limit"
    return ""


_SUBMITIT_SIGNAL = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]

# The first match is taken, so general patterns come last.
LAUNCHERS = (
    LauncherProfile("basic", r".*\.BasicLauncher", isolation="none"),  # so that a debugger works in the task
    LauncherProfile("joblib", r".*\.JoblibLauncher", limit_key="n_jobs"),
    LauncherProfile(
        "submitit_slurm",
        r".*submitit.*Slurm.*",
        detachable=True,
        shares_terminal=False,
        limit_key="array_parallelism",
        assigns_gpus=True,
        preemption_signal=_SUBMITIT_SIGNAL,
        read_rank=lambda: _read_submitit_rank("slurm"),
        # Also for other launchers that run inside an allocation: SLURM ends their agents at the same time.
        read_deadline=_read_slurm_deadline,
        read_requeue_id=_read_slurm_requeue_id,
        explain_memory_kill=_explain_slurm_memory_kill,
    ),
    LauncherProfile(
        "submitit_local",
        r".*submitit.*",
        detachable=True,
        shares_terminal=False,
        preemption_signal=_SUBMITIT_SIGNAL,
        read_rank=lambda: _read_submitit_rank("local"),
    ),
)
_UNLISTED = LauncherProfile("unlisted")

PREEMPTION_SIGNALS = tuple({launcher.preemption_signal: None for launcher in LAUNCHERS if launcher.preemption_signal})

HANDLER_PACKAGES = ("submitit", "wandbsweep")
"""Packages whose signal handlers are for an agent's own process, and not for what its trials fork."""


def find_profile(target: str) -> LauncherProfile:
    """Return the profile of the launcher with the class ``target`` (``hydra.launcher._target_``)."""
    return next((launcher for launcher in LAUNCHERS if re.fullmatch(launcher.pattern, target)), _UNLISTED)


def limit_jobs(launcher: MutableMapping[str, Any], at_once: int | None) -> None:
    """Have a launcher run at most ``at_once`` jobs at the same time.

    Args:
        launcher: Its configuration, ``hydra.launcher``, which is changed.
        at_once: ``hydra.sweeper.agents_at_once``; None: as it is configured.

    Raises:
        SweepError: The launcher starts all its jobs at once.
    """
    profile = find_profile(str(launcher["_target_"]))
    if at_once is None or profile.name == "basic":  # it runs one job after another
        return
    if profile.limit_key is None:
        able = ", ".join(other.name for other in LAUNCHERS if other.limit_key)
        raise SweepError(
            f"hydra.sweeper.agents_at_once: the value is {at_once}, but hydra/launcher={profile.name} starts all its "
            f"jobs at once; those that can limit them are {able}. Without a limit: hydra.sweeper.agents_at_once=null"
        )
    launcher[profile.limit_key] = at_once


def read_rank() -> Rank:
    """Return which task of its launcher's job this process is; rank 0 of 1 if no launcher says otherwise."""
    return next((rank for launcher in LAUNCHERS if (rank := launcher.read_rank())), Rank())


def read_deadline() -> float | None:
    """Return the Unix time at which this process's job is ended; None if no end is known."""
    return next((end for launcher in LAUNCHERS if (end := launcher.read_deadline()) is not None), None)


def read_requeue_id() -> str:
    """Return what tells this start of a requeued job from its other starts; empty outside such a job."""
    return next((found for launcher in LAUNCHERS if (found := launcher.read_requeue_id())), "")


def read_job_id() -> str:
    """Return the scheduler's name of the job that this process is part of; empty: there is none."""
    return read_requeue_id().partition(":")[0]


def explain_memory_kill(job: str) -> str:
    """Return how a scheduler ended ``job`` because its memory ran out; empty: it did not, or that is not known here."""
    return next((found for launcher in LAUNCHERS if (found := launcher.explain_memory_kill(job))), "")
