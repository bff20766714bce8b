"""A storage in a database, in Optuna's tables."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.storage import database_connections as connections
from wandbsweep.storage import database_queries as queries
from wandbsweep.storage import database_writer as writer
from wandbsweep.storage.base import AttemptState, NewAttempt, StoredAttempt, StoredParam
from wandbsweep.storage.database_url import complete_url, find_sqlite_file, mask_password
from wandbsweep.storage.leases import HEARTBEAT, find_last_heartbeat
from wandbsweep.storage.optuna_private import DIRECTIONS, read_tables

PATIENCE_S = 300.0
"""How long to wait while the database restarts or the network is cut, in seconds."""

_HEARTBEATS = 6  # on one connection with the readings of other leases: hundreds of agents keep the server busy

T = TypeVar("T")


def open_storage(directory: Path | None, url: str, *, wait_s: float) -> DatabaseStorage:
    """Open the database at ``url`` and create Optuna's tables if it has none.

    Args:
        directory: The sweep's; not needed here.
        url: Its address. ``${oc.env:NAME}`` in it is replaced by the environment variable NAME, such as a password.
        wait_s: How long to wait if it cannot be reached now, in seconds.

    Raises:
        SweepDirectoryError: An environment variable or SQLite's directory does not exist.
    """
    whole = complete_url(url)
    # SQLite would say that it is unable to open the file, as it does if another process is using it.
    file = find_sqlite_file(whole)
    if file is not None and not file.parent.is_dir():
        raise SweepDirectoryError(f"{url}: there is no directory {file.parent}; create it, or name another.")

    def connect() -> RDBStorage:
        with connections.share_connections():
            return _connect_optuna(whole)

    return DatabaseStorage(connections.retry_unreachable(connect, wait_s))


def open_reader(directory: Path | None, url: str, study: str, *, wait_s: float) -> DatabaseReader:
    return DatabaseReader(url, study, wait_s=wait_s)


def _connect_optuna(url: str) -> RDBStorage:
    """Return Optuna's storage.

    Optuna looks for each of its tables and compares their version with those it knows, which takes longer than all
    other queries of an agent. This is skipped if the same version of Optuna created the tables.
    """
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)  # it logs each new study
    options = connections.make_engine_options(url, adaptive=True)
    if not url.startswith("sqlite"):  # which has few agents, and raises the same error for other reasons
        try:
            storage = RDBStorage(url, engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=True)
            with storage.engine.connect() as connection:
                created_by = connection.execute(sa.select(read_tables()["version_info"].c.library_version)).scalar()
            if created_by == version("optuna"):
                return storage
        except StorageInternalError as error:
            if not isinstance(error.__cause__, ProgrammingError):
                raise  # else there are no tables yet
    return RDBStorage(url, engine_kwargs=options)


class DatabaseStorage:
    """Studies and attempts in Optuna's tables, of which Optuna's own storage creates all but the attempts.

    Every call is repeated while the database cannot be reached. A write whose answer was lost may have taken effect.
    Repeating it changes nothing, except that a new attempt then exists twice. The process never learns the key of the
    first one, so its controller looks for attempts that carry its lease and that it does not know.
    """

    addressable = True

    def __init__(self, optuna: RDBStorage) -> None:
        self._optuna = optuna
        self._engine: sa.Engine = optuna.engine

    def find_study(self, name: str) -> int | None:
        return self.read(partial(queries.find_study, name=name))

    def create_study(self, name: str, goals: Sequence[Goal]) -> int | None:
        directions = [StudyDirection(DIRECTIONS[goal]) for goal in goals]
        try:
            return self.retry(lambda: self._optuna.create_new_study(directions, name))
        except DuplicatedStudyError:
            return None

    def read_study_attributes(self, study: int, prefix: str = "") -> dict[str, Any]:
        return self.read(partial(queries.read_study_attributes, study=study, prefix=prefix))

    def set_study_attribute(self, study: int, name: str, value: Any) -> None:
        self._write_once(partial(writer.set_study_attribute, study=study, name=name, value=value))

    def create_attempt(self, study: int, build: Callable[[int], NewAttempt]) -> int:
        def create() -> int:
            with self._engine.begin() as connection:
                return writer.create_attempt(connection, study, build)

        return self.retry(create)

    def set_attribute(self, attempt: int, name: str, value: Any) -> None:
        self._write(partial(writer.set_attribute, attempt=attempt, name=name, value=value))

    def set_params(self, attempt: int, attributes: Mapping[str, Any], params: Mapping[str, StoredParam]) -> None:
        write = partial(writer.set_params, attempt=attempt, attributes=attributes, params=params)
        self._write(write, in_transaction=True)

    def report(self, attempt: int, step: int, value: float) -> None:
        self._write(partial(writer.report, attempt=attempt, step=step, value=value))

    def close_attempt(self, attempt: int, state: AttemptState, values: Sequence[float] | None = None) -> None:
        self._write_once(partial(writer.close_attempt, attempt=attempt, state=state, values=values))

    def read_attempt(self, attempt: int) -> StoredAttempt:
        return self.read(partial(queries.read_attempt, attempt=attempt))

    def read_reports(self, attempt: int) -> dict[int, float]:
        return self.read(partial(queries.read_reports, attempt=attempt))

    def open_change_feed(self, study: int) -> Callable[..., list[StoredAttempt]]:
        attempts = queries.AttemptQueries(study, counting=True)

        def read_changes(*, created_only: bool = False) -> list[StoredAttempt]:
            found = self.read(partial(attempts.read_changes, created_only=created_only))
            attempts.note(found)
            return found

        return read_changes

    def open_leases(self, study: int) -> DatabaseLeases:
        return DatabaseLeases(self, study)

    def open_optuna(self) -> Any:
        return self._optuna

    def retry(self, action: Callable[[], T]) -> T:
        return connections.retry_unreachable(action, PATIENCE_S)

    def connected(self) -> AbstractContextManager[None]:
        return connections.share_connections()

    def release_connection(self) -> None:
        if isinstance(self._engine.pool, connections.ReleasingPool):
            self._engine.pool.release()

    def close(self) -> None:
        self._optuna.remove_session()
        self._engine.pool.dispose()

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        def answer() -> T:
            with connections.connect_for_statements(self._engine) as connection:
                return query(connection)

        return self.retry(answer)

    def _write(self, write: Callable[..., None], *, in_transaction: bool = False) -> None:
        """Call ``write(connection)`` to add something, or ``write(connection, replace=True)`` if it exists."""
        connect = self._engine.begin if in_transaction else partial(connections.connect_for_statements, self._engine)

        def attempt() -> None:
            try:
                with connect() as connection:
                    write(connection)
            except IntegrityError:
                with self._engine.begin() as connection:
                    write(connection, replace=True)

        self.retry(attempt)

    def _write_once(self, write: Callable[[sa.Connection], None]) -> None:
        """Call ``write(connection)`` in a transaction; leave what another process, or an earlier try, has written."""

        def attempt() -> None:
            with suppress(IntegrityError), self._engine.begin() as connection:
                write(connection)

        self.retry(attempt)


class DatabaseLeases:
    """Leases as attributes of a study."""

    renewals = _HEARTBEATS

    def __init__(self, storage: DatabaseStorage, study: int) -> None:
        self._storage = storage
        self._study = study

    def connected(self) -> AbstractContextManager[None]:
        return self._storage.connected()

    def renew(self, owner: str) -> None:
        self._storage.set_study_attribute(self._study, HEARTBEAT + owner, time.time_ns())

    def read_heartbeats(self, owners: Collection[str]) -> dict[str, object]:
        stored = self._storage.read_study_attributes(self._study, HEARTBEAT) if owners else {}
        return {owner: stored.get(HEARTBEAT + owner) for owner in owners}

    def release(self, owner: str) -> None:
        with suppress(Exception):  # any driver's error: if the database cannot be reached, the lease expires
            self._storage.set_study_attribute(self._study, HEARTBEAT + owner, None)


class DatabaseReader:
    """The study ``name`` of the database at ``url``. Waits up to ``wait_s`` seconds if that cannot be reached.

    Reads each time only what is new, and creates no tables.
    """

    def __init__(self, url: str, name: str, *, wait_s: float) -> None:
        self._url = url
        self._name = name
        self._wait_s = wait_s
        whole = complete_url(url)
        with self._convert_errors():
            self._engine = sa.create_engine(whole, **connections.make_engine_options(whole))
            self._file = find_sqlite_file(whole)
        self.attributes: Mapping[str, Any] = {}
        self._attempts: queries.AttemptQueries | None = None

    def changes(self) -> Sequence[StoredAttempt]:
        found = self._read(self._read_changes)
        if self._attempts is not None:
            self._attempts.note(found)
        return found

    def list_studies(self) -> Sequence[str]:
        return self._read(queries.list_studies)

    def is_replaced(self) -> bool:
        return False

    def read_last_heartbeat(self) -> float | None:
        return find_last_heartbeat(self.attributes)

    def _read_changes(self, connection: sa.Connection) -> list[StoredAttempt]:
        study = queries.find_study(connection, self._name)
        if study is None:
            return []
        self.attributes = queries.read_study_attributes(connection, study)
        if self._attempts is None or self._attempts.study != study:
            self._attempts = queries.AttemptQueries(study)
        return self._attempts.read_changes(connection)

    def _read(self, query: Callable[[sa.Connection], list[T]]) -> list[T]:
        """Return what ``query`` finds; nothing if the database has none of Optuna's tables."""

        def answer() -> list[T]:
            if self._file is not None and not self._file.exists():  # connecting would create it
                return []
            with self._engine.connect() as connection:
                return query(connection) if sa.inspect(connection).has_table("studies") else []

        with self._convert_errors():
            return connections.retry_unreachable(answer, self._wait_s)

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Raise SweepDirectoryError, with one line, for any error that keeps the database from being read."""
        try:
            yield
        except (SQLAlchemyError, ImportError) as error:  # ImportError: the driver is not installed
            cause = error.orig if isinstance(error, DBAPIError) else error
            (first, *_) = str(cause).splitlines() or [type(error).__name__]
            raise SweepDirectoryError(f"Cannot read {mask_password(self._url)}: {first}") from None
