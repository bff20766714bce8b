"""Several trials in one process: restores the process's state after each of them, for the next one."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wandbsweep.bridge import hydra_state
from wandbsweep.process_state import interpreter, libraries, system
from wandbsweep.process_state.guard import Guard
from wandbsweep.text import describe_error
from wandbsweep.trial import Trial
from wandbsweep.wandb_runs.environment import forget_wandb

_ENDING_S = 1.0  # how long a trial's threads and processes may take to end after it
_SERVICES = ("resource_tracker", "multiprocessing.forkserver", "loky", "compile_worker", "wandb-core", "gpu_stats")
"""Parts of the command lines of processes that serve libraries for as long as this process lives, and not a trial."""
_SERVICE_THREADS = ("ExecutorManagerThread",)  # loky's


class Separator:
    """Keeps the trials of one process apart. An agent has one for all its trials."""

    def __init__(self) -> None:
        self._guard = Guard([*interpreter.PARTS, *libraries.PARTS, *hydra_state.PARTS, *system.PARTS])

    @contextmanager
    def separate(self, trial: Trial, overrides: Sequence[str]) -> Iterator[None]:
        """Run ``trial`` in a ``with`` block, then restore what it has changed in this process, and log the rest."""
        who = f"Trial {trial.number}"
        threads, processes, pid = set(threading.enumerate()), _list_children(), os.getpid()
        with self._guard.restore(who), forget_wandb(), system.restore_streams():
            try:
                yield
            finally:
                if os.getpid() == pid:
                    self._release_memory(who)
        self._guard.warn(who, self._await_ending(threads, processes))

    def _release_memory(self, who: str) -> None:
        try:
            libraries.release_memory()
        except Exception as error:  # the GPU's driver may be broken, which is why the trial failed
            self._guard.warn(who, [f"GPU memory ({describe_error(error)})"])

    def _await_ending(self, threads: set[threading.Thread], processes: dict[int, str]) -> list[str]:
        """Wait for the threads and processes that are new, and return the names of those that do not end.

        A process of a trial's own would wait for such threads. It does not wait for those that it named before.
        """
        end = time.monotonic() + _ENDING_S
        while True:
            names = [f"the thread {t.name!r}" for t in threading.enumerate() if _is_left(t, threads)]
            children = _list_children()
            names += [f"the process {children[pid]!r}" for pid in children.keys() - processes.keys()]
            if self._guard.has_named(names) or time.monotonic() >= end:
                return names
            gc.collect()  # pools end when nothing refers to them any more
            time.sleep(0.02)


def _is_left(thread: threading.Thread, before: set[threading.Thread]) -> bool:
    is_new = thread not in before and thread.name not in _SERVICE_THREADS
    return is_new and not thread.daemon and thread.is_alive()


def _list_children() -> dict[int, str]:
    """Return the command lines of the processes that this process has started, by their numbers."""
    multiprocessing.active_children()  # reaps those that have ended
    found = {}
    for listed in Path("/proc/self/task").glob("*/children") if sys.platform == "linux" else ():
        try:
            for pid in listed.read_text().split():
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command and not any(service in command for service in _SERVICES):  # a zombie has no command
                    found[int(pid)] = command.strip()[:80]
        except OSError:  # a thread or a process that has just ended
            continue
    return found
