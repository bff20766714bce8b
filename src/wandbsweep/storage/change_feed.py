"""What happened to a study's trials since one last looked, and what that makes of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from optuna.trial import FrozenTrial

from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.storage.journal import WatchedJournal

if TYPE_CHECKING:
    from wandbsweep.storage.database import Database
    from wandbsweep.storage.open import Store


class Feed(Protocol):
    def changes(self, *, created: bool = False) -> Sequence[Any]:
        """The trials created or written to since the last call, created ones in their order of creation.

        Some may not have changed at all. ``created``: what was written to others may wait for the next call.
        """


class JournalFeed:
    """Reads no more than what changed."""

    def __init__(self, storage: WatchedJournal, study: int) -> None:
        self._storage = storage
        self._study = study
        self._keys: set[int] = set()  # of the trials seen; a journal may hold another study's too

    def changes(self, *, created: bool = False) -> list[FrozenTrial]:
        new = list(self._created()) if self._keys else self._all()
        written = self._storage.written() & self._keys
        return [*new, *map(self._storage.get_trial, written)]

    def _all(self) -> list[FrozenTrial]:
        self._storage.written()  # all that is known so far stands in the list
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        self._keys.update(trial._trial_id for trial in trials)
        return trials

    def _created(self) -> Iterator[FrozenTrial]:
        while True:
            try:
                key = self._storage.get_trial_id_from_study_id_trial_number(self._study, len(self._keys))
            except KeyError:
                return
            self._keys.add(key)
            yield self._storage.get_trial(key)


class DatabaseFeed:
    """Counts what the open attempts have, and reads those that have more than they had."""

    def __init__(self, storage: Database, study: int) -> None:
        from wandbsweep.storage.database_reader import StoredAttempts

        self._storage = storage
        self._attempts = StoredAttempts(study, counting=True)

    def changes(self, *, created: bool = False) -> Sequence[Any]:
        found = self._storage.read(lambda connection: self._attempts.changes(connection, created=created))
        self._attempts.note(found)
        return found


def feed_of(storage: Store, study: int) -> Feed:
    return JournalFeed(storage, study) if isinstance(storage, WatchedJournal) else DatabaseFeed(storage, study)


class View:
    """The ledger as one process sees it, each time for a ``with`` block in which its other threads wait."""

    def __init__(self, feed: Feed, goal: str) -> None:
        self._feed = feed
        self._ledger = TrialTable(goal)
        self._lock = threading.RLock()

    @contextmanager
    def now(self, *, created: bool = False) -> Iterator[TrialTable]:
        """Brought up to date with the store; ``created``: only with what attempts there are."""
        with self._lock:
            self._ledger.update(self._feed.changes(created=created))
            yield self._ledger

    @contextmanager
    def last(self) -> Iterator[TrialTable]:
        """As it was when one last looked."""
        with self._lock:
            yield self._ledger
