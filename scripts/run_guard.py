"""Every process that a test run starts ends with the run, even if it is killed.

Tests start processes in new sessions (sweeps, agents, servers), which a Ctrl-C or a SIGKILL of pytest does not reach.
So the run marks its environment, which they inherit, and a guard process (``python -m scripts.run_guard VALUE``) kills
those that have the mark when the run is gone. Servers do not have it: ``server_directory`` stops them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.daemons import RUN_VARIABLE, read_start_time

_ROOT = Path(__file__).parents[1]
_POLL_S = 0.2
_PATIENCE_S = 10.0


@contextmanager
def guarded_run() -> Iterator[None]:
    """Kill what this process starts within the block, when the block or this process ends."""
    before = os.environ.get(RUN_VARIABLE)
    value = f"{os.getpid()}-{read_start_time(os.getpid())}"
    guard = subprocess.Popen(
        [sys.executable, "-m", "scripts.run_guard", value],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the run
    )
    os.environ[RUN_VARIABLE] = value
    try:
        yield
    finally:
        os.environ.pop(RUN_VARIABLE)
        if before is not None:
            os.environ[RUN_VARIABLE] = before
        kill_marked(value)
        guard.kill()
        guard.wait()


def await_end(pid: int, born: int) -> None:
    """Wait until a process that started at ``born`` is gone."""
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        if read_start_time(pid) == born:  # else the pid is another process's now
            select.select([process], [], [])


def kill_marked(value: str) -> None:
    """Kill the processes of the run ``value``."""
    deadline = time.monotonic() + _PATIENCE_S
    while (pids := _find_marked(value)) and time.monotonic() < deadline:  # one may have been about to start others
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _find_marked(value: str) -> list[int]:
    mark, found = f"{RUN_VARIABLE}={value}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    run = sys.argv[1]
    await_end(*map(int, run.split("-")))
    kill_marked(run)
