"""Decides which agents live, and renews this process's own lease.

A running trial belongs to the agent whose attempt it is, for as long as that agent renews its lease. A lease expires
if it has not changed for ``lease_s`` seconds. Each process measures that by its own monotonic clock, so the clocks of
two machines are never compared. Time in which the storage could not be read does not count.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from wandbsweep.controllers.embedded.closing import Closer
from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.trial_entry import TrialEntry
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.storage.base import Leases

_POLLS_PER_LEASE = 6
"""How often the other agents' leases are read within a lease's time."""
_MAX_SHARE = 3
"""Between two readings at most a third of a lease's time counts as silence. So a process that was itself suspended, or
cut off from the storage, does not expire the leases of other agents as soon as it resumes."""

Verdict = Literal["alive", "unknown", "expired"]

log = logging.getLogger(__name__)


@dataclass
class _Heartbeat:
    """What an agent last wrote to its lease."""

    value: object
    silent_s: float = 0.0
    renewed: bool = False
    """Whether the agent was seen to renew its lease."""


class LeaseMonitor:
    """Measures how long other agents have been silent."""

    def __init__(self, leases: Leases, lease_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.leases = leases
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, _Heartbeat] = {}
        """By owner."""
        self._read_at: float | None = None
        self._lock = threading.Lock()

    def poll(self, owners: Iterable[str]) -> None:
        """Read the leases of ``owners``, all other agents that have a trial. Forget agents that no longer have one."""
        with self._lock:
            wanted = set(owners)
            try:
                heartbeats = self.leases.read_heartbeats(wanted)
            except BaseException:
                self._read_at = None  # the time until the next successful reading does not count
                raise
            now = self._clock()
            passed_s = 0.0 if self._read_at is None else min(now - self._read_at, self._lease_s / _MAX_SHARE)
            self._read_at = now
            for owner, value in heartbeats.items():
                last = self._seen.get(owner)
                if last is not None and value == last.value:
                    last.silent_s += passed_s
                else:
                    self._seen[owner] = _Heartbeat(value, renewed=last is not None)
            for owner in self._seen.keys() - wanted:
                del self._seen[owner]

    def read_last_heartbeat(self, owner: str | None) -> float | None:
        """Return when an agent last renewed its lease, by its own clock (Unix time); None: not known."""
        with self._lock:
            value = self._seen[owner].value if owner in self._seen else None
        return int(value) / 1e9 if isinstance(value, bytes | str | int) and value else None

    @property
    def expired(self) -> list[str]:
        """The owners whose leases have expired."""
        with self._lock:
            return [owner for owner, last in self._seen.items() if last.silent_s >= self._lease_s]

    def judge(self, owner: str) -> Verdict:
        """Judge whether an agent lives.

        ``alive``: it was seen to renew its lease, and less than half of a lease's time ago. ``expired``: it was silent
        for a whole lease's time. ``unknown``: neither.
        """
        with self._lock:
            last = self._seen.get(owner, _Heartbeat(None))
            if last.silent_s >= self._lease_s:
                return "expired"
            return "alive" if last.renewed and last.silent_s < self._lease_s / 2 else "unknown"


class LeaseManager:
    """Renews this process's lease from a thread, and monitors those of the other agents.

    There are no leases in memory, where all agents die together.
    """

    def __init__(self, study: Study, closer: Closer) -> None:
        self._study = study
        self._closer = closer
        self._lease_s = study.options.lease_s
        leases = study.storage.open_leases(study.key)
        self._monitor = LeaseMonitor(leases, self._lease_s) if leases else None
        self._own = secrets.token_hex(8)
        self._renewed_at = 0.0
        self._starting = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = False

    @property
    def owner(self) -> str | None:
        """The name of this process's lease, which its claims carry; None: there are no leases."""
        return self._own if self._monitor else None

    def start(self) -> None:
        """Hold a lease from now on until ``close``. It must be called before the first claim, which needs the lease."""
        with self._starting:
            if (monitor := self._monitor) and self._thread is None:
                monitor.leases.renew(self._own)
                self._renewed_at = time.monotonic()
                self._thread = threading.Thread(
                    target=self._run, args=(monitor,), name="wandbsweep-leases", daemon=True
                )
                self._thread.start()

    def find_expired(self, table: TrialTable) -> TrialEntry | None:
        """Return a trial whose agent's lease has expired."""
        expired = self._monitor.expired if self._monitor else []
        return next((entry for entry in table.running if entry.owner in expired), None) if expired else None

    def close_expired(self, entry: TrialEntry, *, final: bool = False) -> None:
        """Close the attempt of an agent whose lease has expired (``Closer.close_expired``)."""
        seen = self._monitor.read_last_heartbeat(entry.owner) if self._monitor else None
        self._closer.close_expired(entry, seen=seen, final=final)

    def has_live_agents(self) -> bool | None:
        """Whether other agents live that run trials of this sweep; None: not known yet, ask again."""
        if self._monitor is None or not (owners := self._find_others()):
            return False
        self._monitor.poll(owners)
        verdicts = {self._monitor.judge(owner) for owner in owners}
        return None if "unknown" in verdicts else "alive" in verdicts

    def _find_others(self) -> set[str]:
        """Return the owners of the trials that run in other processes."""
        with self._study.refresh() as table:
            return {entry.owner for entry in table.running if entry.owner and entry.owner != self._own}

    def close(self) -> None:
        """Release the lease. Trials that this process still has are lost after the lease's time."""
        self._closed.set()
        if self._thread and self._monitor:
            self._thread.join()
            self._monitor.leases.release(self._own)

    def _run(self, monitor: LeaseMonitor) -> None:
        leases, polled_at = monitor.leases, time.monotonic()
        while not self._closed.wait(self._lease_s / leases.renewals):
            with leases.connected():
                self._renew(leases)
                if time.monotonic() - polled_at >= self._lease_s / _POLLS_PER_LEASE:
                    polled_at = time.monotonic()
                    with suppress(Exception):  # an agent that needs the storage now reports the error
                        monitor.poll(self._find_others())

    def _renew(self, leases: Leases) -> None:
        try:
            if time.monotonic() - self._renewed_at > self._lease_s / 2:
                # This process was suspended, or could not reach the storage, for so long that other agents may have
                # taken over its trials. This comes before the renewal, so that it never believes in a lost trial again.
                self._closer.check_open()
            leases.renew(self._own)
        except Exception as error:  # any driver's; the rest of the lease's time is left to try again
            if not self._warned:
                log.warning("A lease could not be renewed, trying again: %s: %s", type(error).__name__, error)
            self._warned = True
            return
        self._renewed_at, self._warned = time.monotonic(), False
