"""A pool that holds no connection while its process does something else.

Hundreds of agents that train would use up what a server allows. But an agent that asks has a dozen questions, and to
connect takes longer than to answer one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.pool import ConnectionPoolEntry, NullPool


class _Kept(threading.local):
    """What one thread keeps."""

    depth = 0
    entry: ConnectionPoolEntry | None = None


class Passing(NullPool):
    """A connection per operation, and inside ``keeping`` one for all of a thread's that come one after another."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._kept = _Kept()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        self._kept.depth += 1
        try:
            yield
        finally:
            self._kept.depth -= 1
            if not self._kept.depth:
                self.let_go()

    def let_go(self) -> None:
        """Close what this thread keeps."""
        entry, self._kept.entry = self._kept.entry, None
        if entry is not None:
            entry.close()

    def _do_get(self) -> ConnectionPoolEntry:
        entry, self._kept.entry = self._kept.entry, None
        return entry or super()._do_get()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self._kept.depth and self._kept.entry is None:
            self._kept.entry = record
        else:
            super()._do_return_conn(record)
