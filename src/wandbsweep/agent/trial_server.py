"""Answers the processes of a trial: its own, and all that its training starts.

Under ``isolation=process`` the agent's ``ForkServer`` serves them while it waits for the trial's process, so that
neither the fork server nor the trial has a thread that a process of its own would not have. Under
``isolation=none`` the training runs in the agent's main thread, and may wait there for the processes that it has
started; a thread serves them.

When the trial ends, the server closes, and processes that are still connected read the end of their connections.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from wandbsweep.current import CurrentTrial
from wandbsweep.environment import set_variables
from wandbsweep.text import describe_error
from wandbsweep.trial import CONTINUE
from wandbsweep.trial_link import (
    ADDRESS,
    RANK_VARIABLES,
    Answer,
    CheckInterrupt,
    Clear,
    Follow,
    Hello,
    Message,
    Poll,
    Reach,
    Report,
    decode_message,
    get_socket_name,
    is_own_user,
    make_address,
)

POLL_S = 2.0
"""How often the agent asks the controller what it decided about a trial that does not report, in seconds."""

_LONGEST_MESSAGE = 64 * 2**20  # bytes; a report of a million metrics


class TrialServer:
    """Serves the processes of one trial."""

    def __init__(self, current: CurrentTrial, *, polls: bool) -> None:
        """Open the trial's socket.

        Args:
            current: The trial as its agent knows it, with the agent's callbacks.
            polls: Whether to ask the controller what it decided, if a process asks. Otherwise the agent does so itself.
        """
        current.address = make_address(current.number)
        self.current = current
        self.lost = False
        """Whether a report showed that another agent has the trial. Under ``polls=False`` it gets no answer: a
        training that stops saves a checkpoint, which would overwrite that of the new owner."""
        self._polls = polls
        self._next_poll = 0.0
        self._reported = -1
        """The highest step reported."""
        self._ending: tuple[int, Answer] | None = None
        """The first step whose report was answered with a stop, and this answer."""
        self._connections: dict[Connection, None] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(get_socket_name(current.address))
        self._listener.listen(128)
        self._listener.setblocking(False)
        _servers[self] = None

    @property
    def has_reports(self) -> bool:
        """Whether a process of the trial has reported by ``current_trial()``."""
        return self._reported >= 0

    @property
    def sources(self) -> list[Any]:
        """What to wait for (``multiprocessing.connection.wait``)."""
        return [self._listener, *self._connections]

    def handle(self, ready: list[Any]) -> None:
        """Accept new processes, and answer those of ``ready`` (some of ``sources``) that have sent a message."""
        if self._listener in ready:
            self._accept()
        for connection in [each for each in ready if each in self._connections]:
            try:
                message = decode_message(connection.recv_bytes(_LONGEST_MESSAGE))
            except Exception:  # the process has ended, or is none of this trial's, and what it sent is no message
                self._close(connection)
                continue
            answer = self._answer(message)
            if not self.lost or self._polls:
                with suppress(OSError):  # the process has ended meanwhile, which its next message tells
                    connection.send(answer)

    def close(self) -> None:
        """Close the socket and all connections; processes of the trial that send a message from now on read its end."""
        del _servers[self]
        # Processes that the trial has forked may hold the sockets too; this ends them in all processes.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            self._close(connection)

    def close_in_fork(self) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError):  # it has given up
            accepted, _ = self._listener.accept()
            if is_own_user(accepted):
                accepted.setblocking(True)
                self._connections[Connection(accepted.detach())] = None
            accepted.close()

    def _close(self, connection: Connection) -> None:
        del self._connections[connection]
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _answer(self, message: Message) -> Answer | None:
        current = self.current
        if isinstance(message, Hello):
            ranks = {name: os.environ[name] for name in RANK_VARIABLES if name in os.environ}
            return Answer(trial=current, ranks=ranks)
        if isinstance(message, Report):
            return self._answer_report(message)
        if isinstance(message, Follow):
            if self._ending and message.step >= self._ending[0]:
                return self._ending[1]
            return Answer() if message.step <= self._reported else None
        if isinstance(message, Poll):
            return self._answer_poll()
        if isinstance(message, CheckInterrupt):
            interrupted = current.preempted  # this acknowledges it
            return Answer(current.decision, interrupted)
        if isinstance(message, Reach):
            current.note_step(message.step)
        elif isinstance(message, Clear):
            current.clear()
            self._ending = None
        return Answer(last_step=current.last_step)

    def _answer_report(self, report: Report) -> Answer:
        current = self.current
        try:
            decision = current.report(report.step, report.metrics)
        except Exception as error:  # the controller's
            if not self._polls:
                raise
            return Answer(fault=describe_error(error))
        interrupted = current.interrupt_requested
        self.lost = decision.stop and not interrupted and not current.is_owner()
        answer = Answer(decision, interrupted, not self.lost)
        self._reported = max(self._reported, report.step)
        if decision.stop:
            self._ending = self._ending or (report.step, answer)
        return answer

    def _answer_poll(self) -> Answer:
        current = self.current
        if self._polls and not current.decision.stop and time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + POLL_S
            current.decision = current.poll()
        decision = CONTINUE if current.interrupt_requested else current.decision
        return Answer(decision, owned=not decision.stop or current.is_owner())


_servers: dict[TrialServer, None] = {}
"""The servers that this process has open."""


def _close_in_fork() -> None:
    while _servers:
        _servers.popitem()[0].close_in_fork()


os.register_at_fork(after_in_child=_close_in_fork)


@contextmanager
def serve_from_thread(current: CurrentTrial) -> Iterator[None]:
    """Serve the processes that the training in this process starts, for a ``with`` block."""
    server = TrialServer(current, polls=True)
    reader, writer = os.pipe()

    def serve() -> None:
        while reader not in (ready := wait([reader, *server.sources])):
            server.handle(ready)

    thread = threading.Thread(target=serve, name="wandbsweep-reports", daemon=True)
    thread.start()
    pid = os.getpid()
    try:
        with set_variables({ADDRESS: current.address}):
            yield
    finally:
        if os.getpid() == pid:  # otherwise this process was forked by the training
            _end_shared_workers()
            os.write(writer, b"\0")
            thread.join()
            server.close()
            os.close(reader)
            os.close(writer)


def _end_shared_workers() -> None:
    """End the processes that libraries keep for later: they have this trial's environment, and so its address."""
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if pid := getattr(server, "_forkserver_pid", None):  # multiprocessing starts another when it finds this one dead
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for loky in ("loky", "joblib.externals.loky"):
        if executor := getattr(sys.modules.get(f"{loky}.reusable_executor"), "_executor", None):
            getattr(executor, "terminate", executor.shutdown)(kill_workers=True)  # joblib's has files, too
