"""The state that the operating system keeps of this process."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from wandbsweep.process_state.parts import ABSENT, Part


class Environment:
    """The environment variables."""

    name = "environment variable"

    def read(self) -> dict[Hashable, Any]:
        return dict[Hashable, Any](os.environ.items())

    def write(self, item: Hashable, value: Any) -> None:
        if value is ABSENT:
            os.environ.pop(str(item), None)
        else:
            os.environ[str(item)] = value
        if item == "TZ":
            time.tzset()


class Signals:
    """The signals' handlers, what is blocked, and the timers. In other threads than the main one there are none."""

    name = "signal"

    def read(self) -> dict[Hashable, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        found: dict[Hashable, Any] = {
            signum: handler for signum in signal.valid_signals() if (handler := signal.getsignal(signum)) is not None
        }
        wakeup_fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
        running = frozenset(timer for timer in timers if signal.getitimer(timer)[0])
        return {**found, "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()), "wakeup": wakeup_fd, "timers": running}

    def write(self, item: Hashable, value: Any) -> None:
        if item == "mask":
            signal.pthread_sigmask(signal.SIG_SETMASK, value)
        elif item == "wakeup":
            signal.set_wakeup_fd(value, warn_on_full_buffer=False)
        elif item == "timers":
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                if timer not in value:
                    signal.setitimer(timer, 0)
        elif isinstance(item, int) and value is not ABSENT:
            signal.signal(item, value)


class Limits:
    """What the process may use: its resource limits, processors and priority, and the permissions of new files."""

    name = "process"

    def read(self) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {name: resource.getrlimit(number) for name, number in _LIMITS.items()}
        found["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
        if sys.platform == "linux":
            found["affinity"] = os.sched_getaffinity(0)
        with suppress(OSError):  # it was deleted
            found["working directory"] = os.getcwd()
        found["umask"] = _read_umask()
        return found

    def write(self, item: Hashable, value: Any) -> None:
        if value is ABSENT:
            return
        others: dict[Hashable, Callable[[], Any]] = {
            "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, value),
            "affinity": lambda: os.sched_setaffinity(0, value),
            "working directory": lambda: os.chdir(value),
            "umask": lambda: os.umask(value),
        }
        if item in others:
            others[item]()
        else:
            resource.setrlimit(_LIMITS[str(item)], value)


def _read_umask() -> int:
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)  # elsewhere than on Linux, only setting it tells
    os.umask(umask)
    return umask


_LIMITS = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}

PARTS: Final[tuple[Part, ...]] = (Environment(), Signals(), Limits())


@contextmanager
def restore_streams() -> Iterator[None]:
    """Connect the descriptors of the standard streams again, at the end of a ``with`` block, to what they were."""
    before, pid = {number: os.dup(number) for number in (0, 1, 2) if _identify_file(number)}, os.getpid()
    try:
        yield
    finally:
        for number, copy in before.items():
            if os.getpid() == pid and _identify_file(number) != _identify_file(copy):
                for stream in (sys.stdout, sys.stderr):
                    with suppress(Exception):  # closed
                        stream.flush()
                os.dup2(copy, number)
            os.close(copy)


def _identify_file(descriptor: int) -> tuple[int, int] | None:
    """Return what tells the file of a descriptor from others; None: it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
