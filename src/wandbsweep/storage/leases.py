"""Who owns a running trial: the agent whose attempt it is, for as long as it shows that it lives.

An agent's lease stands for all the attempts that it holds, and is renewed while its process runs, whatever its training
does. Others judge by their own monotonic clock: a lease that has not changed for ``lease_s`` has lapsed. No two
machines' clocks are ever compared, and time in which the store itself could not be used does not count.

Leases stand beside a journal, not in it: a file per agent. In a database they are attributes of the study.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from wandbsweep.storage.open import Store

BEAT = "wandbsweep:beat:"
LEASES = ".sweep/leases"
"""Where a sweep's directory has them."""

# Of a lease's time: how often the others' are read, and the most that the time between two readings counts for, so that
# who was suspended itself, or cut off, condemns nobody.
_LOOKS = 6
_COUNTED = 3

_PROBE = "probe"

Verdict = Literal["alive", "unknown", "lapsed"]

log = logging.getLogger(__name__)


class Leases(Protocol):
    """Where leases are kept. Any method may raise whatever the store raises when it cannot be used."""

    renewals: int
    """How often one is renewed in a lease's time."""

    def connected(self) -> AbstractContextManager[None]:
        """Have several of these, in a ``with`` block, share what it takes to reach the store."""

    def renew(self, owner: str) -> None:
        """Show that ``owner`` lives."""

    def beats(self, owners: Collection[str]) -> Mapping[str, object]:
        """What they wrote last; None: nothing, or they have gone."""

    def drop(self, owner: str) -> None:
        """Leave nothing behind of one that goes."""


class FileLeases:
    """A small file per agent in ``directory``, written in place: a full disk stops no renewal."""

    renewals = 20

    def connected(self) -> AbstractContextManager[None]:
        return nullcontext()

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def renew(self, owner: str) -> None:
        path = self._directory / owner
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.pwrite(file, b"%020d\n" % time.time_ns(), 0)
        finally:
            os.close(file)

    def beats(self, owners: Collection[str]) -> dict[str, object]:
        # Where this process cannot write, the owners may not be able to either.
        self.renew(_PROBE)
        return {owner: self._read(owner) for owner in owners}

    def drop(self, owner: str) -> None:
        with suppress(OSError):
            (self._directory / owner).unlink(missing_ok=True)

    def latest(self) -> float | None:
        """When anybody was last heard of, by its own clock (Unix time, seconds): to show, not to judge by."""
        owners = [path.name for path in self._directory.glob("*") if path.name != _PROBE]
        return _latest(self._read(owner) for owner in owners)

    def _read(self, owner: str) -> bytes | None:
        try:
            return (self._directory / owner).read_bytes()  # opened anew: NFS shows what others wrote
        except FileNotFoundError:
            return None


class StoredLeases:
    """Attributes of a study in a database."""

    renewals = _LOOKS  # on one connection with the looks: those of hundreds of agents keep the server busy

    def __init__(self, storage: Store, study: int) -> None:
        self._storage = storage
        self._study = study

    def connected(self) -> AbstractContextManager[None]:
        return self._storage.connected()

    def renew(self, owner: str) -> None:
        self._storage.set_study_system_attr(self._study, BEAT + owner, time.time_ns())

    def beats(self, owners: Collection[str]) -> dict[str, object]:
        stored = self._storage.study_attributes(self._study, BEAT) if owners else {}
        return {owner: stored.get(BEAT + owner) for owner in owners}

    def drop(self, owner: str) -> None:
        with suppress(Exception):  # it may be unreachable in its driver's own ways, and then the lease lapses
            self._storage.set_study_system_attr(self._study, BEAT + owner, None)


def latest_of(attributes: Mapping[str, Any]) -> float | None:
    """``FileLeases.latest``, of a study's attributes."""
    return _latest(beat for name, beat in attributes.items() if name.startswith(BEAT))


def _latest(beats: Iterable[Any]) -> float | None:
    return max((int(beat) / 1e9 for beat in beats if beat), default=None)


class Watch:
    """Tells by this process's own clock whose leases have lapsed."""

    def __init__(self, leases: Leases, lease_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._leases = leases
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, object] = {}
        self._silent_s: dict[str, float] = {}
        self._changed: set[str] = set()
        self._last: float | None = None
        self._lock = threading.Lock()

    def look(self, owners: Iterable[str]) -> None:
        """Read the leases of ``owners``, all others that have a trial; forget those who have none any more."""
        with self._lock:
            wanted = set(owners)
            beats = self._read(wanted)
            now = self._clock()
            passed = 0.0 if self._last is None else min(now - self._last, self._lease_s / _COUNTED)
            self._last = now
            for owner, beat in beats.items():
                same = owner in self._seen and beat == self._seen[owner]
                self._silent_s[owner] = self._silent_s[owner] + passed if same else 0.0
                if owner in self._seen and not same:
                    self._changed.add(owner)
                self._seen[owner] = beat
            for owner in self._seen.keys() - wanted:
                del self._seen[owner], self._silent_s[owner]
                self._changed.discard(owner)

    def _read(self, owners: Collection[str]) -> Mapping[str, object]:
        try:
            return self._leases.beats(owners)
        except BaseException:
            self._last = None  # what passes until the next look counts for nothing
            raise

    @property
    def lapsed(self) -> list[str]:
        """Those who have vanished."""
        with self._lock:
            return [owner for owner, silent_s in self._silent_s.items() if silent_s >= self._lease_s]

    def verdict(self, owner: str) -> Verdict:
        """``alive``: seen to be renewed within half of a lease's time. ``unknown``: not yet, or not lately."""
        with self._lock:
            silent_s = self._silent_s.get(owner, 0.0)
            if silent_s >= self._lease_s:
                return "lapsed"
            return "alive" if owner in self._changed and silent_s < self._lease_s / 2 else "unknown"


class Keeper:
    """Renews this process's lease from a thread of its own, and watches the others'.

    ``others`` names the owners of the trials that run elsewhere. ``suspect`` is called when this process was silent,
    because it was suspended or could not reach the store, for so long that others may have taken over what it holds.
    """

    def __init__(
        self,
        leases: Leases,
        lease_s: float,
        *,
        others: Callable[[], Collection[str]],
        suspect: Callable[[], None] = lambda: None,
    ) -> None:
        self.owner = secrets.token_hex(8)
        self.watch = Watch(leases, lease_s)
        self._leases = leases
        self._lease_s = lease_s
        self._others = others
        self._suspect = suspect
        self._renewed = 0.0
        self._starting = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False

    def start(self) -> None:
        """Hold a lease from now on until ``close``."""
        with self._starting:
            if self._thread is None:
                self._leases.renew(self.owner)
                self._renewed = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="wandbsweep-leases", daemon=True)
                self._thread.start()

    def look(self) -> None:
        """Read the others' leases now."""
        self.watch.look(self._others())

    def close(self) -> None:
        """Hold no lease any more; what was held with it lapses."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._leases.drop(self.owner)

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._done.wait(self._lease_s / self._leases.renewals):
            with self._leases.connected():
                self._renew()
                if time.monotonic() - looked >= self._lease_s / _LOOKS:
                    looked = time.monotonic()
                    with suppress(Exception):  # told by whoever needs the store now, and tried again
                        self.look()

    def _renew(self) -> None:
        try:
            if time.monotonic() - self._renewed > self._lease_s / 2:
                self._suspect()
            self._leases.renew(self.owner)
        except Exception as error:  # any driver's; the lease's time is there to try again in
            if not self._told:
                log.warning("A lease could not be renewed, trying again: %s: %s", type(error).__name__, error)
            self._told = True
            return
        self._renewed, self._told = time.monotonic(), False
