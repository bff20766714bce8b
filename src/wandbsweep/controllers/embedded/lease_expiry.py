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
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Literal

from wandbsweep.controllers.trial_table import TrialEntry, TrialTable
from wandbsweep.storage.base import Leases

_POLLS_PER_LEASE = 6
"""How often the other agents' leases are read within a lease's time."""
_MAX_SHARE = 3
"""Between two readings at most a third of a lease's time counts as silence. So a process that was itself suspended, or
cut off from the storage, does not expire the leases of other agents as soon as it resumes."""

Verdict = Literal["alive", "unknown", "expired"]

log = logging.getLogger(__name__)


class LeaseMonitor:
    """Measures how long other agents have been silent."""

    def __init__(self, leases: Leases, lease_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._leases = leases
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, object] = {}
        """By owner: the last heartbeat."""
        self._silent_s: dict[str, float] = {}
        self._renewed: set[str] = set()
        """The owners that were seen to renew their leases."""
        self._read_at: float | None = None
        self._lock = threading.Lock()

    def poll(self, owners: Iterable[str]) -> None:
        """Read the leases of ``owners``, all other agents that have a trial. Forget agents that no longer have one."""
        with self._lock:
            wanted = set(owners)
            heartbeats = self._read(wanted)
            now = self._clock()
            passed_s = 0.0 if self._read_at is None else min(now - self._read_at, self._lease_s / _MAX_SHARE)
            self._read_at = now
            for owner, heartbeat in heartbeats.items():
                known = owner in self._seen
                same = known and heartbeat == self._seen[owner]
                self._silent_s[owner] = self._silent_s[owner] + passed_s if same else 0.0
                if known and not same:
                    self._renewed.add(owner)
                self._seen[owner] = heartbeat
            for owner in self._seen.keys() - wanted:
                del self._seen[owner], self._silent_s[owner]
                self._renewed.discard(owner)

    def _read(self, owners: Collection[str]) -> Mapping[str, object]:
        try:
            return self._leases.read_heartbeats(owners)
        except BaseException:
            self._read_at = None  # the time until the next successful reading does not count
            raise

    @property
    def expired(self) -> list[str]:
        """The owners whose leases have expired."""
        with self._lock:
            return [owner for owner, silent_s in self._silent_s.items() if silent_s >= self._lease_s]

    def judge(self, owner: str) -> Verdict:
        """Judge whether an agent lives.

        ``alive``: it was seen to renew its lease, and less than half of a lease's time ago. ``expired``: it was silent
        for a whole lease's time. ``unknown``: neither.
        """
        with self._lock:
            silent_s = self._silent_s.get(owner, 0.0)
            if silent_s >= self._lease_s:
                return "expired"
            return "alive" if owner in self._renewed and silent_s < self._lease_s / 2 else "unknown"


class LeaseManager:
    """Renews this process's lease from a thread, and monitors those of the other agents.

    Args:
        leases: The study's leases. None: there are none, since in memory all agents die together.
        lease_s: After how many seconds of silence a lease expires.
        find_others: Returns the owners of the trials that run in other processes.
        check_own: Called when this process was silent for so long, because it was suspended or could not reach the
            storage, that other agents may have taken over its trials.
    """

    def __init__(
        self,
        leases: Leases | None,
        lease_s: float,
        *,
        find_others: Callable[[], Collection[str]],
        check_own: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._monitor = LeaseMonitor(leases, lease_s) if leases else None
        self._own = secrets.token_hex(8)
        self._lease_s = lease_s
        self._find_others = find_others
        self._check_own = check_own
        self._renewed_at = 0.0
        self._starting = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = False

    @property
    def owner(self) -> str | None:
        """The name of this process's lease, which its claims carry; None: there are no leases."""
        return self._own if self._leases else None

    def start(self) -> None:
        """Hold a lease from now on until ``close``. It must be called before the first claim, which needs the lease."""
        with self._starting:
            if self._leases and self._monitor and self._thread is None:
                self._leases.renew(self._own)
                self._renewed_at = time.monotonic()
                arguments = (self._leases, self._monitor)
                self._thread = threading.Thread(target=self._run, args=arguments, name="wandbsweep-leases", daemon=True)
                self._thread.start()

    def find_expired(self, table: TrialTable) -> TrialEntry | None:
        """Return a trial whose agent's lease has expired."""
        expired = self._monitor.expired if self._monitor else []
        return next((entry for entry in table.running if entry.owner in expired), None) if expired else None

    def has_live_agents(self) -> bool | None:
        """Whether other agents live that run trials of this sweep; None: not known yet, ask again."""
        if self._monitor is None or not (owners := self._find_others()):
            return False
        self._monitor.poll(owners)
        verdicts = {self._monitor.judge(owner) for owner in owners}
        return None if "unknown" in verdicts else "alive" in verdicts

    def close(self) -> None:
        """Release the lease. Trials that this process still has are lost after the lease's time."""
        self._closed.set()
        if self._thread and self._leases:
            self._thread.join()
            self._leases.release(self._own)

    def _run(self, leases: Leases, monitor: LeaseMonitor) -> None:
        polled_at = time.monotonic()
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
                self._check_own()  # before the renewal, so that this process never believes in a lost trial again
            leases.renew(self._own)
        except Exception as error:  # any driver's; the rest of the lease's time is left to try again
            if not self._warned:
                log.warning("A lease could not be renewed, trying again: %s: %s", type(error).__name__, error)
            self._warned = True
            return
        self._renewed_at, self._warned = time.monotonic(), False
