"""A database as a sweep's store, through Optuna's tables."""

from __future__ import annotations

import copy
import functools
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage  # what Optuna puts in front of each RDBStorage
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.database_url import complete_url

_PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0

log = logging.getLogger(__name__)

T = TypeVar("T")

if TYPE_CHECKING:
    import sqlalchemy as sa


def open_database(url: str, *, wait_s: float) -> Database:
    """Optuna's storage on the database at ``url``, which waits out a restart or a cut line of up to five minutes.

    ``wait_s``: how long to wait for it now. ``${oc.env:NAME}`` in ``url`` stands for the environment variable NAME, so
    that no secret need be written down.
    """
    from wandbsweep.storage.database_connections import sharing

    whole = complete_url(url)
    _refuse_missing_directory(whole, url)

    def opened() -> _Patient:
        with sharing():
            return _opened(whole)

    return Database(patiently(opened, wait_s))


def _opened(url: str) -> _Patient:
    """Optuna looks for each of its tables, and compares their version with those it knows, which takes longer than all
    else that an agent asks for; nobody need where the same Optuna has made them."""
    import sqlalchemy as sa

    options = engine_options(url, asking=True)
    if not url.startswith("sqlite"):  # that has few agents, and says the same of a table and of a file that is missing
        with suppress(_NoTables):
            with _told_apart():
                opened = _Patient(url, engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=True)
            with opened.engine.connect() as connection:
                made_by = connection.execute(sa.text("SELECT library_version FROM version_info")).scalar()
            if made_by == version("optuna"):
                return opened
    return _Patient(url, engine_kwargs=options)


def _refuse_missing_directory(whole: str, url: str) -> None:
    """SQLite would say that it is unable to open the file, as it does of one that another process has in work."""
    from sqlalchemy import make_url

    address = make_url(whole)
    file = address.database
    if address.get_backend_name() != "sqlite" or not file or file == ":memory:" or file.startswith("file:"):
        return
    directory = Path(file).parent
    if not directory.is_dir():
        raise SweepDirectoryError(f"{url}: there is no directory {directory}; make it, or name another.")


class _NoTables(Exception):
    """Optuna has made none in this database yet."""


@contextmanager
def _told_apart() -> Iterator[None]:
    from sqlalchemy.exc import ProgrammingError

    try:
        yield
    except StorageInternalError as error:
        if isinstance(error.__cause__, ProgrammingError):
            raise _NoTables from None
        raise


def engine_options(url: str, *, asking: bool = False) -> dict[str, Any]:
    """``asking``: for who asks again and again."""
    if url.startswith("sqlite"):  # its writers wait for each other, by default 5 s, and then give up
        return {"connect_args": {"timeout": 60}}
    from wandbsweep.storage.database_connections import Passing, Sparing

    return {"poolclass": Sparing if asking and url.startswith("postgresql") else Passing}


class _Patient(RDBStorage):
    """Tries again what failed because the database could not be reached.

    A write whose answer was lost may have been made: writing it again changes nothing, but for a new attempt, which
    then has two rows; the first has no owner, its lease lapses, and its trial is run by who takes it over.
    """

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is None:
            return super()._create_new_trial(study_id)
        made = copy.deepcopy(template_trial)
        made._trial_id, made.number = self.create_trial(study_id, lambda _: template_trial)
        return made

    def create_trial(self, study: int, made: Callable[[int], FrozenTrial]) -> tuple[int, int]:
        from wandbsweep.storage.database_writer import create

        with self.engine.begin() as connection:
            return create(connection, study, made)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._writing() as (connection, writing):
            writing.set_study_attribute(connection, study_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        from wandbsweep.storage.database_writer import set_attribute

        self._write(partial(set_attribute, trial=trial_id, key=key, value=value))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        from wandbsweep.storage.database_writer import report

        self._write(partial(report, trial=trial_id, step=step, value=intermediate_value))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        with self._writing() as (connection, writing):
            writing.close(connection, trial_id, state, values)
        return True

    def choose(
        self, trial: int, attributes: Mapping[str, Any], params: Mapping[str, tuple[float, BaseDistribution]]
    ) -> None:
        from wandbsweep.storage.database_writer import choose

        # What is there may be foreseen for another number, chosen before, or of an earlier try.
        self._write(partial(choose, trial=trial, attributes=attributes, params=params), statements=2)

    def _write(self, write: Callable[..., None], *, statements: int = 1) -> None:
        """``write(connection)`` something new, or ``write(connection, anew=True)`` in place of what is there."""
        from sqlalchemy.exc import IntegrityError

        try:
            with _at_once(self.engine) if statements == 1 else self.engine.begin() as connection:
                write(connection)
        except IntegrityError:
            with self.engine.begin() as connection:
                write(connection, anew=True)

    @contextmanager
    def _writing(self) -> Iterator[tuple[sa.Connection, Any]]:
        """A transaction, and the statements for it. What is there already was written by another at the same moment,
        or by an earlier try."""
        from sqlalchemy.exc import IntegrityError

        from wandbsweep.storage import database_writer as database_writing

        with suppress(IntegrityError), self.engine.begin() as connection:
            yield connection, database_writing


class Database(_CachedStorage):
    """Optuna's storage on a database, and shorter ways to what hundreds of agents ask it for all the time."""

    def __init__(self, backend: _Patient) -> None:
        super().__init__(backend)
        self._patient = backend

    @property
    def _engine(self) -> sa.Engine:
        return self._patient.engine

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Have what this thread does in a ``with`` block share a connection: making one takes longer than using it."""
        from wandbsweep.storage.database_connections import Passing

        pool = self._engine.pool
        if isinstance(pool, Passing):
            with pool.keeping():
                yield
        else:
            yield

    def let_go(self) -> None:
        """Share no connection while one waits."""
        from wandbsweep.storage.database_connections import Passing

        if isinstance(self._engine.pool, Passing):
            self._engine.pool.let_go()

    def remove_session(self) -> None:
        super().remove_session()
        self._engine.pool.dispose()

    def create_trial(self, study: int, made: Callable[[int], FrozenTrial]) -> int:
        """The id of a new trial: the one that ``made`` gives for the number of those created before."""
        return self._patient.create_trial(study, made)[0]

    def read(self, ask: Callable[[sa.Connection], T]) -> T:
        def answer() -> T:
            with _at_once(self._engine) as connection:
                return ask(connection)

        return patiently(answer, _PATIENCE_S)

    def study_attributes(self, study: int, start: str) -> dict[str, Any]:
        """Those of the study's own attributes whose names begin with ``start``: each agent has left one there."""
        from wandbsweep.storage.database_reader import study_attributes

        return self.read(lambda connection: study_attributes(connection, study, start))

    def choose(
        self, trial: int, attributes: Mapping[str, Any], params: Mapping[str, tuple[float, BaseDistribution]]
    ) -> None:
        """Write ``attributes`` and ``params`` (as Optuna stores them) of a trial."""
        self._patient.choose(trial, attributes, params)

    def reports(self, trial: int) -> list[float]:
        """What a trial has reported, in any order."""
        from wandbsweep.storage.database_reader import reports_of

        return self.read(lambda connection: reports_of(connection, trial))


@contextmanager
def _at_once(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which each statement takes one way to the server and back, instead of three with a transaction;
    elsewhere than on PostgreSQL the change to that takes as many."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        with engine.begin() as connection:
            yield connection


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return patiently(lambda: method(*args, **kwargs), _PATIENCE_S)

    return call


def patiently(action: Callable[[], T], patience_s: float) -> T:
    deadline, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            return action()
        except Exception as error:  # Optuna wraps some of SQLAlchemy's, and not others: _unreachable tells
            if not _unreachable(error) or time.monotonic() + wait_s > deadline:
                raise
            if wait_s == _FIRST_WAIT_S:
                log.warning("The database cannot be reached, trying for up to %.0f s", patience_s)
        time.sleep(wait_s * random.uniform(0.5, 1.0))  # hundreds may have been turned away at once
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


# And what Optuna's cache in front of it calls beyond the storages' interface.
_BEYOND = ("_create_new_trial", "_get_trials", "_set_trial_param", "choose", "create_trial")

for _name in (*BaseStorage.__abstractmethods__, *_BEYOND):
    setattr(_Patient, _name, _patient(getattr(_Patient, _name)))


def _unreachable(error: BaseException | None) -> bool:
    from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError

    while isinstance(error, StorageInternalError):
        error = error.__cause__
    # The last: Optuna tries something slower on the connection that has just been lost.
    return isinstance(error, OperationalError | InterfaceError | PendingRollbackError)
