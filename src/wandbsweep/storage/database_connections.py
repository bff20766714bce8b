"""A pool that holds no connection while its process does something else, unless the server has many to spare.

Hundreds of agents that train would use up what a server allows. But an agent that asks has a dozen questions, and to
connect takes longer than to answer one; and where a few agents are all that a server has, each may keep its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry, NullPool

IDLE_S = 10.0
"""A connection to spare is closed when it was not used for so long."""
ASK_AGAIN_S = 60.0
"""A server that had none to spare is not asked for so long whether it has by now."""


class _Kept(threading.local):
    """What one thread keeps."""

    depth = 0
    entry: ConnectionPoolEntry | None = None


class _Sharing(threading.local):
    """Of one thread: how deep it is in ``sharing``, and the pools that kept something there."""

    depth = 0

    def __init__(self) -> None:
        self.pools: list[Passing] = []


_sharing = _Sharing()


@contextmanager
def sharing() -> Iterator[None]:
    """``keeping`` for all pools of this thread, also for those that are made in the ``with`` block only."""
    _sharing.depth += 1
    try:
        yield
    finally:
        _sharing.depth -= 1
        if not _sharing.depth:
            pools, _sharing.pools = _sharing.pools, []
            for pool in pools:
                pool._part()


class Passing(NullPool):
    """A connection per operation, and inside ``keeping`` one for all of a thread's that come one after another."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept = _Kept()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        self._kept.depth += 1
        try:
            yield
        finally:
            self._kept.depth -= 1
            if not self._kept.depth and not _sharing.depth:
                self._part()

    def let_go(self) -> None:
        """Close what this thread keeps."""
        entry, self._kept.entry = self._kept.entry, None
        if entry is not None:
            entry.close()

    def _part(self) -> None:
        """What becomes of a thread's connection at the end of ``keeping``."""
        self.let_go()

    def _do_get(self) -> ConnectionPoolEntry:
        entry, self._kept.entry = self._kept.entry, None
        return entry or self._other()

    def _other(self) -> ConnectionPoolEntry:
        return super()._do_get()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if (self._kept.depth or _sharing.depth) and self._kept.entry is None:
            self._kept.entry = record
            if _sharing.depth:
                _sharing.pools.append(self)
        else:
            super()._do_return_conn(record)


class Sparing(Passing):
    """Keeps for ``IDLE_S`` what was used inside ``keeping``, for any thread, while a quarter of the server's
    connections is left to others. For PostgreSQL."""

    # Of others' connections an ordinary user sees no more than that they are there, and to which database.
    _TO_SPARE = """
        SELECT 4 * count(*) < 3 * current_setting('max_connections')::int FROM pg_stat_activity
        WHERE datid IS NOT NULL"""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, ConnectionPoolEntry]] = []
        """Since when, and what; the latest last."""
        self._janitor: threading.Timer | None = None
        self._none_to_spare = -ASK_AGAIN_S

    def dispose(self) -> None:
        """Close all that nobody uses."""
        with self._lock:
            found, self._idle = self._idle, []
            if self._janitor is not None:
                self._janitor.cancel()
                self._janitor = None
        for _, entry in found:
            entry.close()
        super().dispose()

    def _other(self) -> ConnectionPoolEntry:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
        entry = super()._other()
        entry.info["to spare"] = self._has_to_spare(entry)
        return entry

    def _has_to_spare(self, entry: ConnectionPoolEntry) -> bool:
        if time.monotonic() - self._none_to_spare < ASK_AGAIN_S or entry.dbapi_connection is None:
            return False
        answer = False
        with suppress(Exception):  # any driver's; what only speaks PostgreSQL's language may not know how many it has
            cursor = entry.dbapi_connection.cursor()
            cursor.execute(self._TO_SPARE)
            (answer,) = cursor.fetchone() or (False,)
            cursor.close()
        entry.dbapi_connection.rollback()
        if not answer:
            self._none_to_spare = time.monotonic()
        return answer

    def let_go(self) -> None:
        """Close what this thread keeps, if it is needed elsewhere."""
        if not self._is_to_spare(self._kept.entry):
            super().let_go()

    @staticmethod
    def _is_to_spare(entry: ConnectionPoolEntry | None) -> bool:
        return entry is not None and entry.dbapi_connection is not None and bool(entry.info.get("to spare"))

    def _part(self) -> None:
        entry = self._kept.entry
        if entry is None or not self._is_to_spare(entry):
            return super().let_go()
        self._kept.entry = None
        with self._lock:
            self._idle.append((time.monotonic(), entry))
            self._come_back(IDLE_S)

    def _come_back(self, seconds: float) -> None:
        if self._janitor is None:
            self._janitor = threading.Timer(seconds, self._tidy)
            self._janitor.daemon = True
            self._janitor.start()

    def _tidy(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._janitor = None
            stale = [entry for since, entry in self._idle if now - since >= IDLE_S]
            self._idle = [(since, entry) for since, entry in self._idle if now - since < IDLE_S]
            if self._idle:
                self._come_back(self._idle[0][0] + IDLE_S - now)
        for entry in stale:
            entry.close()
