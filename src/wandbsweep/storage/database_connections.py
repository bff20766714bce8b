"""Connections to a database: how many a process keeps, and what happens when the database cannot be reached.

Hundreds of training agents would use up the connections that a server allows, so a process holds none while it does
something else. But an agent that asks for a trial sends a dozen queries, and connecting takes longer than a query. So
these share a connection, and if the server has many to spare, each agent may keep its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from wandbsweep.retry import Backoff, retry

IDLE_S = 10.0
"""A spare connection is closed if it was not used for this long."""
ASK_AGAIN_S = 60.0
"""A server that had none to spare is not asked again for this long."""

_SQLITE_TIMEOUT_S = 60  # its writers wait for each other, by default for only 5 s, and then fail
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_JITTER = (0.5, 1.0)  # hundreds may have been refused at once

T = TypeVar("T")

log = logging.getLogger(__name__)


def make_engine_options(url: str, *, adaptive: bool = False) -> dict[str, Any]:
    """Return the keyword arguments of ``sqlalchemy.create_engine``.

    Args:
        url: The database's address.
        adaptive: Whether to keep connections if the server has many to spare, for a process that asks again and again.
    """
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _SQLITE_TIMEOUT_S}}
    return {"poolclass": AdaptivePool if adaptive and url.startswith("postgresql") else ReleasingPool}


def retry_unreachable(action: Callable[[], T], patience_s: float) -> T:
    """Repeat ``action`` while the database cannot be reached, for ``patience_s`` seconds."""
    return retry(
        action,
        Backoff(patience_s, _FIRST_PAUSE_S, _LONGEST_PAUSE_S, _JITTER),
        is_transient=_is_unreachable,
        warn=lambda error: log.warning("The database cannot be reached, trying for up to %.0f s", patience_s),
    )


def _is_unreachable(error: BaseException | None) -> bool:
    while isinstance(error, StorageInternalError):  # Optuna wraps some of SQLAlchemy's errors, and not others
        error = error.__cause__
    # The last one: Optuna tries a slower statement on the connection that has just been lost.
    return isinstance(error, OperationalError | InterfaceError | PendingRollbackError)


@contextmanager
def connect_for_statements(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for single statements, which need no transaction.

    On PostgreSQL each statement then takes one round trip to the server instead of three. Elsewhere nothing is gained,
    since switching to autocommit takes round trips too.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        with engine.begin() as connection:
            yield connection


class _Shared(threading.local):
    """The connections that one thread shares among its operations, and how deep it is in ``share_connections``."""

    depth = 0

    def __init__(self) -> None:
        self.entries: dict[ReleasingPool, ConnectionPoolEntry] = {}


_shared = _Shared()


@contextmanager
def share_connections() -> Iterator[None]:
    """Let this thread's operations on a database in a ``with`` block share one connection."""
    _shared.depth += 1
    try:
        yield
    finally:
        _shared.depth -= 1
        if not _shared.depth:
            for pool in list(_shared.entries):
                pool.return_shared()


class ReleasingPool(NullPool):
    """Opens a connection for each operation; inside ``share_connections`` the operations of a thread share one."""

    def release(self) -> None:
        """Close the connection that this thread shares."""
        if (entry := _shared.entries.pop(self, None)) is not None:
            entry.close()

    def return_shared(self) -> None:
        """Give up this thread's connection at the end of ``share_connections``."""
        self.release()

    def _do_get(self) -> ConnectionPoolEntry:
        return _shared.entries.pop(self, None) or self._open()

    def _open(self) -> ConnectionPoolEntry:
        return super()._do_get()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if _shared.depth and self not in _shared.entries:
            _shared.entries[self] = record
        else:
            super()._do_return_conn(record)


class AdaptivePool(ReleasingPool):
    """Keeps a shared connection for ``IDLE_S``, for any thread, if the server has connections to spare. For PostgreSQL.

    The server has some to spare if more than a quarter of its connections are free.
    """

    # An ordinary user sees of other users' connections only that they exist, and to which database.
    _HAS_SPARE = """
        SELECT 4 * count(*) < 3 * current_setting('max_connections')::int FROM pg_stat_activity
        WHERE datid IS NOT NULL"""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, ConnectionPoolEntry]] = []
        """Since when, and the connection; the latest last."""
        self._cleanup: threading.Timer | None = None
        self._none_to_spare = -ASK_AGAIN_S
        """When the server last had none (monotonic)."""

    def dispose(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
            if self._cleanup is not None:
                self._cleanup.cancel()
                self._cleanup = None
        for _, entry in idle:
            entry.close()
        super().dispose()

    def release(self) -> None:
        """Close the connection that this thread shares, if the server has none to spare."""
        if not self._is_spare(_shared.entries.get(self)):
            super().release()

    def return_shared(self) -> None:
        entry = _shared.entries.get(self)
        if entry is None or not self._is_spare(entry):
            return super().release()
        del _shared.entries[self]
        with self._lock:
            self._idle.append((time.monotonic(), entry))
            self._schedule_cleanup(IDLE_S)

    def _open(self) -> ConnectionPoolEntry:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
        entry = super()._open()
        entry.info["spare"] = self._has_spare(entry)
        return entry

    def _has_spare(self, entry: ConnectionPoolEntry) -> bool:
        if time.monotonic() - self._none_to_spare < ASK_AGAIN_S or entry.dbapi_connection is None:
            return False
        answer = False
        with suppress(Exception):  # any driver's error: a server that only speaks PostgreSQL's protocol may not know
            cursor = entry.dbapi_connection.cursor()
            cursor.execute(self._HAS_SPARE)
            (answer,) = cursor.fetchone() or (False,)
            cursor.close()
        entry.dbapi_connection.rollback()
        if not answer:
            self._none_to_spare = time.monotonic()
        return answer

    @staticmethod
    def _is_spare(entry: ConnectionPoolEntry | None) -> bool:
        return entry is not None and entry.dbapi_connection is not None and bool(entry.info.get("spare"))

    def _schedule_cleanup(self, seconds: float) -> None:
        if self._cleanup is None:
            self._cleanup = threading.Timer(seconds, self._close_stale)
            self._cleanup.daemon = True
            self._cleanup.start()

    def _close_stale(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._cleanup = None
            stale = [entry for since, entry in self._idle if now - since >= IDLE_S]
            self._idle = [(since, entry) for since, entry in self._idle if now - since < IDLE_S]
            if self._idle:
                self._schedule_cleanup(self._idle[0][0] + IDLE_S - now)
        for entry in stale:
            entry.close()
