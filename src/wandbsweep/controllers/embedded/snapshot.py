"""The trial table as one process sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.storage.base import ChangeFeed


class TrialSnapshot:
    """The trial table, brought up to date on demand. One thread at a time uses it, in a ``with`` block."""

    def __init__(self, feed: ChangeFeed, goal: str) -> None:
        self._feed = feed
        self._table = TrialTable(goal)
        self._lock = threading.RLock()

    @contextmanager
    def refresh(self, *, created_only: bool = False) -> Iterator[TrialTable]:
        """Yield the table as the trials are now.

        ``created_only`` makes the call cheaper: the table may lack what happened to known attempts.
        """
        with self._lock:
            self._table.update(self._feed(created_only=created_only))
            yield self._table

    @contextmanager
    def last(self) -> Iterator[TrialTable]:
        """Yield the table as it was when it was last refreshed."""
        with self._lock:
            yield self._table
