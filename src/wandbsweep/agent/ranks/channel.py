"""The files through which the ranks of one agent learn of each other's trials and deaths.

====================================  ========================================================================
``ranks/leader``                      the pickled ``RankSession``; rank 0 holds a lock on it while it lives
``ranks/SESSION/trial``               rank 0's last ``Announcement``
``ranks/SESSION/rankN.alive``         empty; rank N holds a lock on it while it lives
``ranks/SESSION/rankN.done``          rank N's last ``Ack``
====================================  ========================================================================

Each file has one writer, which replaces it atomically, so readers need no locks. The locks only show who lives: the
kernel releases them however a process ends. Files also work for tasks on several nodes, which share the sweep's
directory anyway. A socket would need an address that every cluster's network allows.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wandbsweep.errors import SweepError
from wandbsweep.files import write_atomically
from wandbsweep.trial import Trial

RANKS = "ranks"
"""The directory of these files, in the agent's own."""
POLL_S = 0.02
"""How often the ranks look for each other's files between trials."""
ENDING_S = 10.0
"""How long a rank may continue a trial that is over for rank 0, and rank 0 a trial that failed on another rank."""

_SETTLE_S = 120.0  # how long rank 0 waits for the others to end a trial; then the job is broken


class RankLostError(SweepError):
    """A task of the agent's job has ended before the agent did."""


@dataclass(frozen=True)
class Announcement:
    """What rank 0 does: its ``sequence``-th trial is open or closed, or there are no more."""

    sequence: int = 0
    state: Literal["open", "closed", "over"] = "closed"
    trial: Trial | None = None


@dataclass(frozen=True)
class Ack:
    """What another rank does with rank 0's ``sequence``-th trial: it has begun, or ended it."""

    sequence: int
    ended: bool = False
    error: str = ""
    crashed: bool = False


@dataclass(frozen=True)
class RankSession:
    """One start of rank 0. If its job is requeued, the next start is another session, so old files mean nothing."""

    directory: Path
    host: str
    port: int

    @property
    def announcement(self) -> Path:
        return self.directory / "trial"

    def alive(self, rank: int) -> Path:
        return self.directory / f"rank{rank}.alive"

    def ack(self, rank: int) -> Path:
        return self.directory / f"rank{rank}.done"


class RankChannel:
    """Rank 0's side: announces its trials to the other ranks, and reads how they ended there."""

    def __init__(self, place: Path, size: int, host: str = "127.0.0.1", *, ending_s: float = ENDING_S) -> None:
        """Open a session that the other ranks find.

        Args:
            place: The directory of the agent's ranks.
            size: How many ranks there are, rank 0 included.
            host: The name under which the other ranks reach this process.
            ending_s: How long rank 0 may continue a trial that failed on another rank.
        """
        self.session = RankSession(place / secrets.token_hex(4), host, find_free_port())
        self.session.directory.mkdir(parents=True)
        self.lost_rank = ""
        """Which rank died, if ``find_lost_rank`` has found one."""
        self._others = range(1, size)
        self._ending_s = ending_s
        self._announced = Announcement()
        self._failing_since: float | None = None
        self._idle_by = 0.0
        # The announcement first: a rank that finds the session reads it at once.
        write_pickle(self.session.announcement, self._announced)
        self._lock = hold_file(place / "leader", pickle.dumps(self.session))

    def announce(self, trial: Trial | None) -> None:
        """Announce that ``trial`` begins; None: that there are no more trials."""
        self._failing_since = None
        self._write(Announcement(self._announced.sequence + 1, "over" if trial is None else "open", trial))

    def close_trial(self) -> None:
        """Announce that the trial is over, if one is open."""
        if self._announced.state == "open":
            self._idle_by = time.monotonic() + _SETTLE_S
            self._write(Announcement(self._announced.sequence, "closed"))

    def close(self) -> None:
        """Announce that there are no more trials and no rank 0."""
        if self._announced.state != "over":
            self.announce(None)
        os.close(self._lock)

    def are_ranks_idle(self) -> bool:
        """Whether no other rank still runs the last trial, so that the ranks never run different trials together.

        Raises:
            RankLostError: A rank still runs it two minutes after it was closed.
        """
        if all(
            ack is None or ack.ended or not is_held(self.session.alive(rank)) for rank, ack in self._read_acks().items()
        ):
            return True
        if time.monotonic() > self._idle_by:
            raise RankLostError(f"A rank of this job still runs a trial that was over {_SETTLE_S:g} s ago")
        return False

    def find_lost_rank(self) -> str:
        """Return which rank has died; empty: none has."""
        for rank in self._others:
            if is_held(self.session.alive(rank)) is False:
                self.lost_rank = f"rank {rank} has died"
        return self.lost_rank

    def hang_reason(self) -> str:
        """Return why rank 0 waits in vain for the others in collective calls; empty: no reason is known.

        A rank that failed does not hang rank 0 at once: usually rank 0 fails as well, and its own error says more.
        """
        if lost := self.find_lost_rank():
            return lost
        reason = self._describe_errors()
        if not reason or self._announced.state != "open":
            return ""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        return reason if now - self._failing_since > self._ending_s / 2 else ""

    def has_crashed_rank(self, within_s: float = 0.0) -> bool:
        """Whether a rank's process has died, or dies within ``within_s``. Then the trial's task has not failed."""
        until = time.monotonic() + within_s
        while True:
            acks = self._read_acks().values()
            if self.find_lost_rank() or any(ack and ack.crashed for ack in acks):
                return True
            if time.monotonic() >= until or all(ack is None or ack.ended for ack in acks):
                return False
            time.sleep(POLL_S)

    def add_cause(self, reason: str) -> str:
        """Return rank 0's ``reason`` for failing, together with the errors of the other ranks."""
        cause = self._describe_errors() or self.find_lost_rank()
        return f"{reason} ({cause})" if cause and reason not in cause else reason

    def _describe_errors(self) -> str:
        return "; ".join(f"rank {rank}: {ack.error}" for rank, ack in self._read_acks().items() if ack and ack.error)

    def _read_acks(self) -> dict[int, Ack | None]:
        """Return what each other rank said about the last trial; None: nothing yet."""
        acks = {rank: read_pickle(self.session.ack(rank)) for rank in self._others}
        return {rank: ack if ack and ack.sequence == self._announced.sequence else None for rank, ack in acks.items()}

    def _write(self, announcement: Announcement) -> None:
        self._announced = announcement
        write_pickle(self.session.announcement, announcement)


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def write_pickle(path: Path, value: object) -> None:
    write_atomically(path, pickle.dumps(value))


def read_pickle(path: Path) -> Any:
    """Return the value that was written to ``path``; None: there is no such file."""
    try:
        return pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def hold_file(path: Path, content: bytes) -> int:
    """Write a file that stays locked until this process ends, or closes the descriptor that is returned.

    The lock belongs to the process, so its forks do not hold it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    # Lock it before it is renamed, so that a process that finds the file finds it locked.
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, content)
    temporary.replace(path)
    return descriptor


def is_held(path: Path) -> bool | None:
    """Return whether the process that holds ``path`` lives; None: there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(descriptor)
