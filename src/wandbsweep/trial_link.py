"""The messages between the processes of a trial and the agent that runs it, and the processes' end of the connection.

A training may start further processes, by any means: a fork, ``spawn``, a process pool, another program. Each of them
finds the trial by the environment variable ``WANDBSWEEP_REPORTS``. It names a socket in Linux's abstract namespace,
which has no file that could be left behind, no path that could be too long, and ends with the process that serves it
(``agent.trial_server``). The name is random and used for one trial only, so a process that outlives its trial never
reaches the next one.

Each message is answered, in order. Each process has a connection of its own, made when it first needs one. All users of
the machine can see the name, so both ends only talk to processes of their own user. Messages are JSON; answers are
pickled, since they hold the trial's parameters.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.errors import SweepError
from wandbsweep.trial import CONTINUE, Decision

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

ADDRESS = "WANDBSWEEP_REPORTS"
"""The environment variable with the address of the trial's socket, as ``make_address`` makes it."""
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")

_FOLLOW_S = 10.0  # how long a rank waits for rank 0's report of the same step, before it stops waiting for good
_FOLLOW_POLL_S = 0.01
_POLL_S = 1.0  # how often a training that looks for an interruption asks the agent


@dataclass(frozen=True)
class Hello:
    """The first message of a process that has no description of the trial yet."""


@dataclass(frozen=True)
class Report:
    """A report; the answer holds the decision."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Follow:
    """Asks for the answer that rank 0 got to its report of ``step``; None if rank 0 has not reported it yet."""

    step: int


@dataclass(frozen=True)
class Poll:
    """Asks what was decided since the last report."""


@dataclass(frozen=True)
class CheckInterrupt:
    """Asks whether the training must be interrupted. If the answer says so, the training ends."""


@dataclass(frozen=True)
class Reach:
    """The training has reached ``step``; the answer holds the highest that any process has reached."""

    step: int


@dataclass(frozen=True)
class Clear:
    """The training was interrupted, but had already reached its own end."""


Message = Hello | Report | Follow | Poll | CheckInterrupt | Reach | Clear
_MESSAGES = {kind.__name__: kind for kind in (Hello, Report, Follow, Poll, CheckInterrupt, Reach, Clear)}


def encode_message(message: Message) -> bytes:
    return json.dumps([type(message).__name__, asdict(message)]).encode()


def decode_message(data: bytes) -> Message:
    kind, fields = json.loads(data)
    message: Message = _MESSAGES[kind](**fields)
    return message


@dataclass(frozen=True)
class Answer:
    """The agent's answer to any of these messages."""

    decision: Decision = CONTINUE
    interrupted: bool = False
    """Whether only a signal is the reason of the decision."""
    owned: bool = True
    """Whether the trial is still this agent's."""
    last_step: int = -1
    trial: Any = None
    """To Hello: the ``CurrentTrial`` without its callbacks."""
    ranks: Mapping[str, str] = field(default_factory=dict)
    """To Hello: what the agent's own environment says of ranks."""
    fault: str = ""
    """Why the message could not be handled."""


_OVER = Answer(Decision(stop=True, reason="the trial is over"), owned=False)


def make_address(number: int | None) -> str:
    """Return an address that no other trial has: its number, a random name, and the machine."""
    return f"{number}/{os.urandom(16).hex()}/{_read_machine()}"


def parse_address(address: str) -> tuple[int, bool]:
    """Return the number of the trial with this address, and whether it runs, or ran, on this machine."""
    number, _, machine = address.split("/")
    return int(number), machine == _read_machine()


def get_socket_name(address: str) -> str:
    return f"\0wandbsweep-{address.split('/')[1]}"


def _read_machine() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class TrialLink:
    """A process's connection to the agent that runs its trial. Threads may share it."""

    def __init__(self, address: str, *, descendant: bool = True) -> None:
        """Connect to nothing yet.

        Args:
            address: The address of the trial's socket.
            descendant: Whether this process was started by the trial's own. Then it may be one of several ranks, and
                only rank 0's reports count.
        """
        self.address = address
        self._descendant = descendant
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._owned = True
        self._follows = True
        self._ranks: Mapping[str, str] | None = None
        self._next_poll = 0.0

    def connect(self) -> Any:
        """Return the trial that this process belongs to; None if the trial is over."""
        answer = self._ask(Hello())
        self._ranks = answer.ranks
        return answer.trial

    def close_in_fork(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        if self._connection is not None:
            self._connection.close()

    def report(self, step: int, metrics: Mapping[str, float]) -> Answer:
        return self._follow(step) if self._descendant and self._find_rank() else self._ask(Report(step, metrics))

    def poll(self) -> Decision:
        return self._ask(Poll()).decision

    def poll_interrupt(self) -> str:
        """Return why the training is to be interrupted; empty: it is not, or the agent was asked a moment ago."""
        if not self._descendant or time.monotonic() < self._next_poll:  # the trial's own process gets signals
            return ""
        self._next_poll = time.monotonic() + _POLL_S
        answer = self._ask(CheckInterrupt())
        return answer.decision.reason if answer.interrupted else ""

    def owns(self) -> bool:
        return self._owned

    def reach(self, step: int) -> int:
        return max(step, self._ask(Reach(step)).last_step)

    def clear(self) -> None:
        self._ask(Clear())

    def _follow(self, step: int) -> Answer:
        """Return the answer that rank 0 got for ``step``, so that all ranks end after the same step.

        If rank 0 does not report the step in time, the ranks differ in what they report, and this rank waits no more.
        """
        until = time.monotonic() + _FOLLOW_S
        while self._follows:
            if answer := self._send(Follow(step)):
                return answer
            self._follows = time.monotonic() < until
            time.sleep(_FOLLOW_POLL_S)
        return self._send(Follow(step)) or Answer()

    def _find_rank(self) -> int:
        """Return which of the ranks of a distributed training this process is."""
        distributed: Any = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_rank())
        if self._ranks is None:
            self.connect()
        own = ((name, os.environ.get(name, "")) for name in RANK_VARIABLES)
        # What the agent's own environment has says nothing about this process.
        ranks = (int(n) for name, n in own if n.isdecimal() and n != (self._ranks or {}).get(name))
        return next(ranks, _find_spawned_rank())

    def _ask(self, message: Message) -> Answer:
        """Return the answer to ``message``."""
        answer = self._send(message)
        assert answer is not None, "only Follow may have no answer"
        return answer

    def _send(self, message: Message) -> Answer | None:
        with self._lock:
            if self._is_over:
                return _OVER
            try:
                connection = self._connection = self._connection or _connect(self.address)
                connection.send_bytes(encode_message(message))
                answer: Answer | None = connection.recv()
            except (OSError, EOFError):
                self._is_over, self._owned = True, False
                return _OVER
            except BaseException:  # Ctrl-C: the next message must not read the answer to this one
                self._drop()
                raise
        if answer is not None and answer.fault:
            raise SweepError(answer.fault)
        self._owned = answer is None or answer.owned
        return answer

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _find_spawned_rank() -> int:
    """Return which of the processes that ``torch.multiprocessing.spawn`` has started together this one is."""
    spawn: Any = sys.modules.get("torch.multiprocessing.spawn")
    if spawn is None:
        return 0
    import multiprocessing

    process: Any = multiprocessing.current_process()
    is_spawned = getattr(process, "_target", None) is getattr(spawn, "_wrap", process)
    return int(process._args[1]) if is_spawned else 0


def _connect(address: str) -> Connection:
    import socket  # here, since most processes that import this module never connect
    from multiprocessing.connection import Connection

    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.connect(get_socket_name(address))
        if not is_own_user(link):  # the trial is over, and somebody has taken the name
            raise PermissionError("the socket belongs to another user")
        return Connection(link.detach())
    finally:
        link.close()


def is_own_user(connected: socket.socket) -> bool:
    """Return whether the process at the other end of a Unix socket is one of this user's."""
    import socket

    _, user, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(user == os.getuid())
