"""The process that runs an attempt: its identity in the hosted log, and whether it is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from wandbsweep.launchers import read_requeue_id


def identify_process() -> str:
    """Return a text that no other process has, on this machine or elsewhere."""
    return f"{_identify_machine()}/{os.getpid()}/{_read_start(os.getpid())}/{read_requeue_id()}"


def is_dead(process: str) -> bool:
    """Whether ``process`` is known to be gone: it no longer runs on this machine, or SLURM requeued its job."""
    machine, pid, started, requeue_id = process.rsplit("/", 3)
    job, _, count = requeue_id.partition(":")
    own_job, _, own_count = read_requeue_id().partition(":")
    if job and job == own_job and int(count) < int(own_count):
        return True
    return machine == _identify_machine() and _read_start(int(pid)) != started


def has_vanished(process: str, read_run_state: Callable[[], str | None]) -> bool:
    """Whether ``process`` is gone. If it ran on another machine, W&B's state of its run tells after some minutes."""
    if is_dead(process):
        return True
    is_local = process.rsplit("/", 3)[0] == _identify_machine()
    return not is_local and read_run_state() in ("crashed", "failed", "killed")


def _identify_machine() -> str:
    try:  # containers may share a host name, but each has its own process numbers
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}:{namespace}"


def _read_start(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since boot; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
