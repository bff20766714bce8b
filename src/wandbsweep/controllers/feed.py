"""What happened to a study's trials since one last looked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from wandbsweep.controllers.journal import WatchedJournal


class Feed(Protocol):
    def changes(self) -> list[FrozenTrial]:
        """The trials created or written to since the last call, created ones in their order of creation.

        Some may not have changed at all.
        """


class JournalFeed:
    """Reads no more than what changed."""

    def __init__(self, storage: WatchedJournal, study: int) -> None:
        self._storage = storage
        self._study = study
        self._keys: set[int] = set()  # of the trials seen; a journal may hold another study's too

    def changes(self) -> list[FrozenTrial]:
        created = list(self._created()) if self._keys else self._all()
        written = self._storage.written() & self._keys
        return [*created, *map(self._storage.get_trial, written)]

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


class PolledFeed:
    """Lists all trials each time, for a database, and tells them apart by identity."""

    def __init__(self, storage: BaseStorage, study: int) -> None:
        self._storage = storage
        self._study = study
        self._last: list[FrozenTrial] = []

    def changes(self) -> list[FrozenTrial]:
        listed = self._storage.get_all_trials(self._study, deepcopy=False)
        # Optuna may list a trial that this process made before it has read an earlier one of another's.
        whole = [trial for position, trial in enumerate(listed) if trial.number == position]
        known, self._last = self._last, whole
        return [t for i, t in enumerate(whole) if i >= len(known) or t is not known[i]]


def feed_of(storage: BaseStorage, study: int) -> Feed:
    return JournalFeed(storage, study) if isinstance(storage, WatchedJournal) else PolledFeed(storage, study)
