"""The signals that ask an agent or a trial to end: Ctrl-C, TERM, and the one by which submitit preempts (USR2).

SLURM sends each to every process of a step at once. Ours note them; the training saves what it needs to go on, the
trial goes back to the queue, and only then happens what would have happened without us.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from wandbsweep.current import CurrentTrial
from wandbsweep.launchers import PREEMPTION_SIGNALS

GRACE_S = 12.0
"""How long a trial may take to save and end; below the 16 s that SLURM's preemption leaves, and its KillWait of 30."""

WATCHED = (signal.SIGINT, signal.SIGTERM, *PREEMPTION_SIGNALS)


class Signalled(BaseException):
    """A signal asks this agent to end; raised where nothing is left half done. (Ctrl-C is KeyboardInterrupt.)"""

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(signum.name)
        self.signum = signum


class SignalWatch:
    """Notes the first signal that asks to end, tells the running trial, and wakes who waits for ``wake``.

    A later one changes nothing: what the first began is to be finished. A second Ctrl-C alone does not wait.
    """

    def __init__(self, *, patient: bool = False) -> None:
        """``patient``: a second Ctrl-C waits too (in a trial's process, which its agent ends when it must)."""
        self.seen: signal.Signals | None = None
        self.wake = -1
        """A descriptor to wait for: readable when a signal has come, or ``rouse`` was called."""
        self._rouse = -1
        self._patient = patient
        self._ctrl_c = 0
        self._held = False
        self._current: CurrentTrial | None = None
        self._outer: dict[int, Any] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have the signals for a ``with`` block, in the main thread; what is ignored outside stays so."""
        self.wake, self._rouse = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        main = threading.current_thread() is threading.main_thread()
        outer_fd = -1
        if main:
            handlers = {signum: signal.getsignal(signum) for signum in WATCHED}
            self._outer = {s: h for s, h in handlers.items() if h is not None and h != signal.SIG_IGN}
            # Wakes even while the main thread is in foreign code, where Python's handlers have to wait.
            outer_fd = signal.set_wakeup_fd(self._rouse, warn_on_full_buffer=False)
            self.install()
        try:
            yield
        finally:
            if main:
                signal.set_wakeup_fd(outer_fd)
                for signum, handler in self._outer.items():
                    signal.signal(signum, handler)
            wake, rouse, self.wake, self._rouse = self.wake, self._rouse, -1, -1
            os.close(rouse)
            os.close(wake)

    def watch_for_good(self) -> None:
        """Have the signals, which are ignored now, until the process ends: in that of a trial."""
        self._outer = dict.fromkeys(WATCHED, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
        self.install()

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for signum in self._outer:
                signal.signal(signum, self._note)

    def outer(self, signum: signal.Signals) -> Any:
        """The handler that was there before."""
        return self._outer.get(signum)

    @contextmanager
    def telling(self, current: CurrentTrial) -> Iterator[None]:
        """Tell ``current`` of signals for a ``with`` block."""
        outer, self._current = current.reinstall_handlers, current
        current.reinstall_handlers = self.install
        try:
            if self.seen:
                current.interrupt(_reason(self.seen))
            yield
        finally:
            self._current = None
            current.reinstall_handlers = outer

    def hold(self) -> None:
        """A first Ctrl-C waits from now on for ``let_go``."""
        self._held = True

    def let_go(self) -> None:
        self._held = False
        self.check()

    def check(self) -> None:
        """Raise if a signal has asked to end."""
        if self.seen == signal.SIGINT:
            raise KeyboardInterrupt
        if self.seen:
            raise Signalled(self.seen)

    def rouse(self) -> None:
        """Make ``wake`` readable; from any thread."""
        with suppress(OSError):  # full, so readable already; or nobody watches any more
            os.write(self._rouse, b"\0")

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.wake, 512):
                pass

    def _note(self, number: int, frame: FrameType | None) -> None:
        signum = signal.Signals(number)
        self.seen = self.seen or signum
        if self._current is not None:
            self._current.interrupt(_reason(self.seen))
        self.rouse()
        if signum == signal.SIGINT:
            self._ctrl_c += 1
            if self._raises_now():
                self._outer[signum](number, frame)

    def _raises_now(self) -> bool:
        if self._ctrl_c > 1:
            return not self._patient
        if self._held or (self._current is not None and self._current.listening):
            return False
        if self._current is not None:
            self._current.acknowledge()  # the exception tells the training
        return callable(self._outer.get(signal.SIGINT))


def leave(watch: SignalWatch, signum: signal.Signals) -> NoReturn:
    """End as this process would have on ``signum`` without us: submitit requeues, others die of it.

    Raises what the handler there before raises. After TERM it must not return into submitit, which would write a
    result while SLURM runs the job again.
    """
    handler = watch.outer(signum)
    if callable(handler):
        handler(signum, None)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or a pipe that nobody reads
            stream.flush()
    if handler == signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    os._exit(128 + signum)


class Deadline:
    """Ends a trial that does not heed a signal and runs in this very process, from a thread beside it."""

    def __init__(self, watch: SignalWatch, grace_s: float, give_up: Callable[[signal.Signals], None]) -> None:
        self._watch, self._grace_s, self._give_up = watch, grace_s, give_up
        self._over = threading.Event()
        self._reader, self._writer = os.pipe()

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._wait, name="wandbsweep-deadline", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        os.write(self._writer, b"\0")
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _wait(self) -> None:
        import select

        while not self._over.is_set():
            ready, _, _ = select.select([self._watch.wake, self._reader], [], [])
            if self._watch.wake not in ready:
                continue
            numbers = _bytes_of(self._watch.wake)
            asked = [s for s in (signal.SIGTERM, *PREEMPTION_SIGNALS) if s in numbers or self._watch.seen == s]
            if asked and not self._over.wait(self._grace_s):
                self._give_up(asked[0])


def _bytes_of(descriptor: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(descriptor, 512)
    return b""


def _reason(signum: signal.Signals) -> str:
    return f"interrupted ({signum.name})"
