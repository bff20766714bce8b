"""One rank among several: how torch finds the others, and how it leaves them after a trial."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Any

from wandbsweep.agent.ranks.channel import RankSession
from wandbsweep.environment import restore_variables
from wandbsweep.launchers import Rank
from wandbsweep.trial import JobResult, RunJob, Trial

# What torch and Lightning leave in the environment of a process that has joined a process group.
_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE")

log = logging.getLogger(__name__)


def find_host(rank: Rank) -> str:
    """Return the name under which the other ranks reach this process, rank 0."""
    if rank.nodes == 1:
        return "127.0.0.1"
    # SLURM's name of the node comes first, but may be known to SLURM alone.
    own = socket.gethostname()
    return next((name for name in (os.environ.get("SLURMD_NODENAME"), own) if name and _resolves(name)), own)


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def torch_environment(rank: Rank, session: RankSession) -> dict[str, str]:
    """Return the variables by which torch and Lightning find the other ranks, as ``torchrun`` sets them.

    Empty for a single rank. Variables that the user or the scheduler sets are left out.
    """
    if rank.size == 1:
        return {}
    if rank.found_by_torch:  # only the address is missing; Lightning derives the port from the job's id
        return {} if "MASTER_ADDR" in os.environ else {"MASTER_ADDR": session.host}
    numbers = {"RANK": rank.number, "WORLD_SIZE": rank.size, "LOCAL_RANK": rank.local, "NODE_RANK": 0}
    variables = {name: str(value) for name, value in numbers.items()}
    return {**variables, "MASTER_ADDR": session.host, "MASTER_PORT": str(session.port)}


def run_resetting(run_job: RunJob, trial: Trial) -> JobResult:
    """Run ``trial`` in this process, then leave its process group, so that the next trial can form its own."""
    with restore_variables(_RENDEZVOUS):
        try:
            return run_job(trial)
        finally:
            _reset_process_group()


def _reset_process_group() -> None:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        try:
            distributed.destroy_process_group()
        except Exception as error:  # the group may be broken, which is why the trial failed
            log.warning("Cannot leave the trial's process group: %s", error)
