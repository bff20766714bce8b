"""The signals that ask an agent or a trial to end: Ctrl-C, TERM, and the one by which the launcher preempts (USR2).

Who gets which signal:

* A terminal's Ctrl-C reaches the agent alone: its fork server, and with it the trials, are in another process group.
  SLURM, and ``kill`` by hand, may reach every process of a step at once, or the agent alone.
* The agent notes the signal (``SignalWatch``). A trial in the agent's own process sees it through ``current_trial()``.
  A trial in its own process gets the signal from the agent, and notes it in the same way.
* The fork server ignores them all. It dies with its agent.
* What a trial forks gets back what these signals do without us, before the first of them can arrive. So a training can
  terminate its workers, and a signal of theirs never reaches the agent through the wakeup descriptor.

No handler ends the process. The training saves what it needs, the agent gives the trial back to the queue, and only
then ``end_by_signal`` does what would have happened without us: submitit requeues the job, or the signal kills the
process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import Any, NoReturn

from wandbsweep.current import CurrentTrial
from wandbsweep.launchers import HANDLER_PACKAGES, PREEMPTION_SIGNALS

GRACE_S = 12.0
"""How long a trial may take to save and end; below the 16 s that SLURM's preemption leaves, and its KillWait of 30."""

WATCHED = (signal.SIGINT, signal.SIGTERM, *PREEMPTION_SIGNALS)


class Signalled(BaseException):
    """A signal asks this agent to end. It is raised only at safe points. For Ctrl-C, KeyboardInterrupt is raised."""

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(signum.name)
        self.signum = signum


class SignalWatch:
    """Notes the first signal that asks to end, passes it on to the running trial, and makes ``wake_fd`` readable.

    Later signals change nothing: what the first one began must be finished. Only a second Ctrl-C does not wait.
    """

    def __init__(self, *, patient: bool = False) -> None:
        """Watch nothing yet.

        Args:
            patient: Whether a second Ctrl-C waits too: in a trial's process, which its agent ends if it must.
        """
        self.received: signal.Signals | None = None
        """The first signal that came."""
        self.wake_fd = -1
        """A descriptor that is readable after a signal."""
        self._wake_writer = -1
        self._patient = patient
        self._ctrl_c_count = 0
        self._held = False
        self._current: CurrentTrial | None = None
        self._outer: dict[int, Any] = {}
        self._pid = os.getpid()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the signals for a ``with`` block. In other threads than the main one it watches none.

        A signal that is ignored outside the block (``nohup``) stays ignored.
        """
        self.wake_fd, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        is_main = threading.current_thread() is threading.main_thread()
        outer_fd = -1
        if is_main:
            handlers = {signum: signal.getsignal(signum) for signum in WATCHED}
            self._outer = {s: h for s, h in handlers.items() if h is not None and h != signal.SIG_IGN}
            # Python runs handlers between bytecodes only. While the main thread is in foreign code (a CUDA kernel, a
            # collective call), the interpreter still writes the signal's number here, and ``enforce_grace`` reads it.
            outer_fd = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
            self._pid = os.getpid()
            self.install()
            _watches.append(self)
        try:
            yield
        finally:
            if is_main:
                _watches.remove(self)
                signal.set_wakeup_fd(outer_fd)
                for signum, handler in self._outer.items():
                    signal.signal(signum, handler)
            reader, writer, self.wake_fd, self._wake_writer = self.wake_fd, self._wake_writer, -1, -1
            os.close(writer)
            os.close(reader)

    def watch_until_exit(self, outer: Mapping[int, Any] | None = None) -> None:
        """Watch the signals until the process ends: in a trial's process.

        Args:
            outer: What the signals do in the processes that this one forks; None: what they do in any new process.
        """
        self._outer = dict.fromkeys(WATCHED, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
        self._outer |= outer or {}
        self._pid = os.getpid()
        self.install()
        _watches.append(self)

    def install(self) -> None:
        """Install the handlers; again, if others have replaced them (Lightning does).

        Nothing happens in a process that the trial has forked: its signals are the training's.
        """
        if threading.current_thread() is threading.main_thread() and os.getpid() == self._pid:
            _register_fork_hooks()
            for signum in self._outer:
                signal.signal(signum, self._handle)

    def uninstall_in_fork(self) -> None:
        """Undo in a process that the trial has forked what ``watching`` and ``install`` did."""
        self._current = None
        for signum in self._outer:
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, self._find_fork_handler(signum))
        wakeup_fd = signal.set_wakeup_fd(-1)
        if wakeup_fd not in (-1, self._wake_writer):  # other code (asyncio) has its own
            signal.set_wakeup_fd(wakeup_fd)

    def _find_fork_handler(self, signum: int) -> Any:
        """Return what handles ``signum`` in the processes that the trial forks: what would without us.

        The handlers of launchers are for the job's own process: submitit's would ignore SIGTERM.
        """
        handler = self._outer[signum]
        owner = getattr(handler, "func", handler)
        package = str(getattr(owner, "__module__", None)).partition(".")[0]
        return signal.SIG_DFL if callable(handler) and package in HANDLER_PACKAGES else handler

    def outer_handler(self, signum: signal.Signals) -> Any:
        """The handler that was installed before this watch's."""
        return self._outer.get(signum)

    @contextmanager
    def notifying(self, current: CurrentTrial) -> Iterator[None]:
        """Interrupt ``current`` on signals for a ``with`` block."""
        outer, self._current = current.reinstall_handlers, current
        current.reinstall_handlers = self.install
        try:
            if self.received:
                current.interrupt(_format_reason(self.received))
            yield
        finally:
            self._current = None
            current.reinstall_handlers = outer

    def hold(self) -> None:
        """Let a first Ctrl-C wait from now on for ``release_hold``."""
        self._held = True

    def release_hold(self) -> None:
        self._held = False
        self.check()

    def check(self) -> None:
        """Raise if a signal has asked to end.

        Raises:
            KeyboardInterrupt: It was Ctrl-C.
            Signalled: It was another signal.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received:
            raise Signalled(self.received)

    def drain(self) -> None:
        """Read ``wake_fd`` empty."""
        while _read_available(self.wake_fd):
            pass

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signum = signal.Signals(number)
        if os.getpid() != self._pid:  # called by a handler that has taken this one's place, and that a fork inherited
            _handle_by(self._find_fork_handler(signum), signum, frame)
            return
        self.received = self.received or signum
        if self._current is not None:
            self._current.interrupt(_format_reason(self.received))
        with suppress(OSError):  # full, so readable already; or closed
            os.write(self._wake_writer, b"\0")  # in case that other code (asyncio) has taken Python's wakeup descriptor
        if signum == signal.SIGINT:
            self._ctrl_c_count += 1
            if self._raises_now():
                self._outer[signum](number, frame)

    def _raises_now(self) -> bool:
        """Whether a Ctrl-C that has just arrived raises KeyboardInterrupt at once, as it does without us."""
        if self._ctrl_c_count > 1:
            return not self._patient
        if self._held or (self._current is not None and self._current.listening):
            return False
        if self._current is not None:
            self._current.acknowledge()  # the exception tells the training
        return callable(self._outer.get(signal.SIGINT))


def _handle_by(handler: Any, signum: signal.Signals, frame: FrameType | None) -> None:
    """Do what ``handler`` makes of ``signum``."""
    if callable(handler):
        handler(signum, frame)
    elif handler == signal.SIG_DFL:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


_watches: list[SignalWatch] = []
"""Those of this process whose handlers are installed, the innermost last."""

# The handler of SIGINT may raise, and what a fork hook raises is lost.
_BLOCKED = [signum for signum in WATCHED if signum != signal.SIGINT]
_masks = threading.local()


@cache
def _register_fork_hooks() -> None:
    """Have the processes that this one forks handle signals as if there were no ``SignalWatch``."""
    os.register_at_fork(before=_block_signals, after_in_parent=_restore_mask, after_in_child=_unwatch_fork)


def _block_signals() -> None:
    """Let signals wait until the new process has its own handlers: until then they would be noted as this one's."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)


def _restore_mask() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _unwatch_fork() -> None:
    while _watches:
        _watches.pop().uninstall_in_fork()
    _restore_mask()


def end_by_signal(watch: SignalWatch, signum: signal.Signals) -> NoReturn:
    """End as this process would have ended on ``signum`` without us: submitit requeues, others die of the signal.

    Raises what the earlier handler raises. After TERM it must not return into submitit, which would write a result
    while SLURM runs the job again.
    """
    handler = watch.outer_handler(signum)
    if callable(handler):
        handler(signum, None)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or a pipe without a reader
            stream.flush()
    if handler == signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    os._exit(128 + signum)


@contextmanager
def enforce_grace(watch: SignalWatch, grace_s: float, abandon: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call ``abandon`` from a thread if the ``with`` block, a trial in this process, outlives a signal's grace.

    The thread reads ``wake_fd`` itself, since the main thread may never run Python's handler again: it may hang in a
    collective call. Ctrl-C has no deadline, because the user can press it again.
    """
    over = threading.Event()
    reader, writer = os.pipe()

    def wait() -> None:
        while not over.is_set():
            ready, _, _ = select.select([watch.wake_fd, reader], [], [])
            if watch.wake_fd not in ready:
                continue
            numbers = _read_available(watch.wake_fd)
            received = [s for s in (signal.SIGTERM, *PREEMPTION_SIGNALS) if s in numbers or watch.received == s]
            if received and not over.wait(grace_s):
                abandon(received[0])

    thread = threading.Thread(target=wait, name="wandbsweep-grace", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)


def _read_available(descriptor: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(descriptor, 512)
    return b""


def _format_reason(signum: signal.Signals) -> str:
    return f"interrupted ({signum.name})"
