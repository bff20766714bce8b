"""Reads a study in a database, each time only what is new. Creates no tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage import database_queries as queries
from wandbsweep.storage.base import StoredAttempt
from wandbsweep.storage.database_connections import make_engine_options, retry_unreachable
from wandbsweep.storage.database_url import complete_url, find_sqlite_file, mask_password
from wandbsweep.storage.leases import find_last_heartbeat


class DatabaseReader:
    """The study ``name`` of the database at ``url``. Waits up to ``wait_s`` seconds if that cannot be reached."""

    def __init__(self, url: str, name: str, *, wait_s: float) -> None:
        self._url = url
        self._name = name
        self._wait_s = wait_s
        whole = complete_url(url)
        with self._convert_errors():
            self._engine = sa.create_engine(whole, **make_engine_options(whole))
            self._file = find_sqlite_file(whole)
        self._attributes: Mapping[str, Any] = {}
        self._attempts: queries.AttemptQueries | None = None

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self._attributes

    def changes(self) -> Sequence[StoredAttempt]:
        with self._convert_errors():
            found = retry_unreachable(self._read_changes, self._wait_s)
        if self._attempts is not None:
            self._attempts.note(found)
        return found

    def list_studies(self) -> Sequence[str]:
        with self._convert_errors():
            return retry_unreachable(self._list_studies, self._wait_s)

    def is_replaced(self) -> bool:
        return False

    def read_last_heartbeat(self) -> float | None:
        return find_last_heartbeat(self._attributes)

    def _list_studies(self) -> list[str]:
        with self._connect() as connection:
            return [] if connection is None else queries.list_studies(connection)

    def _read_changes(self) -> list[StoredAttempt]:
        with self._connect() as connection:
            study = None if connection is None else queries.find_study(connection, self._name)
            if connection is None or study is None:
                return []
            self._attributes = queries.read_study_attributes(connection, study)
            if self._attempts is None or self._attempts.study != study:
                self._attempts = queries.AttemptQueries(study)
            return self._attempts.read_changes(connection)

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection | None]:
        """Yield a connection; None: the database has no tables of Optuna's."""
        if self._file is not None and not self._file.exists():  # connecting would create it
            yield None
            return
        with self._engine.connect() as connection:
            yield connection if sa.inspect(connection).has_table("studies") else None

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Raise SweepDirectoryError, with one line, for any error that keeps the database from being read."""
        try:
            yield
        except (SQLAlchemyError, ImportError) as error:  # ImportError: the driver is not installed
            cause = error.orig if isinstance(error, DBAPIError) else error
            (first, *_) = str(cause).splitlines() or [type(error).__name__]
            raise SweepDirectoryError(f"Cannot read {mask_password(self._url)}: {first}") from None
