"""A database read by statements of our own, for who looks on: Optuna builds its objects row by row, and makes tables
where it finds none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.database import engine_options, patiently
from wandbsweep.storage.database_url import complete_url, mask_password
from wandbsweep.storage.journal_reader import Attempt, Stage

if TYPE_CHECKING:
    import sqlalchemy as sa

# Of the trials that are read again, so many are named in a statement; databases limit that.
_NAMED = 500
_NO_FINITE = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}


class DatabaseReader:
    """The study ``name`` of the database at ``url``, for which to wait ``wait_s`` seconds when it cannot be reached."""

    def __init__(self, url: str, name: str, *, wait_s: float) -> None:
        import sqlalchemy as sa

        self._url = url
        self._name = name
        self._wait_s = wait_s
        whole = complete_url(url)
        with self._told():
            self._engine = sa.create_engine(whole, **engine_options(whole))
        self._attributes: Mapping[str, Any] = {}
        self._attempts: StoredAttempts | None = None

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self._attributes

    def changes(self) -> Sequence[Attempt]:
        with self._told():
            found = patiently(self._changes, self._wait_s)
        if self._attempts is not None:
            self._attempts.note(found)
        return found

    def others(self) -> Sequence[str]:
        with self._told():
            return patiently(self._names, self._wait_s)

    def is_another(self) -> bool:
        return False

    def _names(self) -> list[str]:
        with self._connected() as connection:
            rows = () if connection is None else connection.execute(_select("studies", "study_name"))
            return sorted(row[0] for row in rows)

    def _changes(self) -> list[Attempt]:
        with self._connected() as connection:
            study = None if connection is None else self._study(connection)
            if connection is None or study is None:
                return []
            stored = _select("study_system_attributes", "key", "value_json", study_id=study)
            self._attributes = {key: json.loads(value) for key, value in connection.execute(stored)}
            if self._attempts is None or self._attempts.study != study:
                self._attempts = StoredAttempts(study)
            return self._attempts.changes(connection)

    def _study(self, connection: sa.Connection) -> int | None:
        found: int | None = connection.execute(_select("studies", "study_id", study_name=self._name)).scalar()
        return found

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection | None]:
        """A connection; None: there are no tables of Optuna's. Nothing is made."""
        import sqlalchemy as sa

        if self._lacks_file():
            yield None
            return
        with self._engine.connect() as connection:
            yield connection if sa.inspect(connection).has_table("studies") else None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SweepDirectoryError for whatever keeps the database from being read, in one line."""
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, ImportError) as error:  # the latter: its driver is not installed
            cause = error.orig if isinstance(error, DBAPIError) else error
            (first, *_) = str(cause).splitlines() or [type(error).__name__]
            raise SweepDirectoryError(f"Cannot read {mask_password(self._url)}: {first}") from None

    def _lacks_file(self) -> bool:
        """Of SQLite, which would make one."""
        address = self._engine.url
        file = address.database
        named = address.get_backend_name() == "sqlite" and file and file != ":memory:" and not file.startswith("file:")
        return bool(named) and not Path(str(file)).exists()


class StoredAttempts:
    """The attempts of one study: each time those that are new, and those that were open the last time.

    ``counting``: for who asks all the time. An open attempt is read again only where it has more reports or attributes
    than before, or is not open any more; what was written over something else is seen then.
    """

    def __init__(self, study: int, *, counting: bool = False) -> None:
        self.study = study
        self._counting = counting
        self._last = -1
        self._open: dict[int, tuple[int, int]] = {}
        """How many attributes and reports each open attempt had."""

    def changes(self, connection: sa.Connection, *, created: bool = False) -> list[Attempt]:
        """What is new since the last ``note``: an answer may be lost with its connection, and the question asked again.

        The states first: what is closed then has had its outcome and its reports before. ``created``: of the new ones
        only.
        """
        again = [] if created else sorted(self._grown(connection) if self._counting else self._open)
        found: dict[int, Attempt] = {}
        for key, state, begun, ended in self._rows(connection, "trials", again):
            found[key] = Attempt(key, Stage[state], _moment(begun), _moment(ended), {}, {})
        if found:
            for key, name, value in self._rows(connection, "trial_system_attributes", again):
                if key in found:
                    found[key].system_attrs[name] = json.loads(value)
            for key, step, number, kind in self._rows(connection, "trial_intermediate_values", again):
                if key in found:
                    found[key].intermediate_values[step] = _NO_FINITE.get(kind, number)
        return [found[key] for key in sorted(found)]

    def note(self, found: Sequence[Attempt]) -> None:
        """Those that ``changes`` answered have arrived."""
        for attempt in found:
            self._last = max(self._last, attempt._trial_id)
            self._open.pop(attempt._trial_id, None)
            if not attempt.state.is_finished():
                self._open[attempt._trial_id] = len(attempt.system_attrs), len(attempt.intermediate_values)

    def _grown(self, connection: sa.Connection) -> Iterator[int]:
        """Those of the open attempts that have more than they had, or were closed."""
        if not self._open:
            return
        counted = connection.execute(_open_attempts(), {"study": self.study}).all()
        now = {key: (attributes, reports) for key, attributes, reports in counted}
        yield from (key for key, before in self._open.items() if now.get(key) != before)

    def _rows(self, connection: sa.Connection, table: str, again: Sequence[int]) -> Iterator[Any]:
        """Those of the trials that may have changed: new ones, and those to be read ``again``."""
        first = {"study": self.study, "last": self._last}
        if again:
            yield from connection.execute(_changed(table, "both"), {**first, "again": again[:_NAMED]}).all()
        else:
            yield from connection.execute(_changed(table, "new"), first).all()
        for start in range(_NAMED, len(again), _NAMED):
            named = {"study": self.study, "again": again[start : start + _NAMED]}
            yield from connection.execute(_changed(table, "named"), named).all()


# Made once: to make a statement takes longer than to have it answered.


@cache
def _changed(table: str, which: Literal["new", "named", "both"]) -> sa.Select[Any]:
    """The rows in ``table`` of a ``study``'s trials: those after ``last``, those named ``again``, or both."""
    import sqlalchemy as sa

    trials, rows = _table("trials"), _table(table)
    new = rows.c.trial_id > sa.bindparam("last", type_=sa.Integer())
    named = rows.c.trial_id.in_(sa.bindparam("again", expanding=True, type_=sa.Integer()))
    wanted = {"new": new, "named": named, "both": new | named}[which]
    if table == "trials":
        columns = [trials.c.trial_id, trials.c.state, trials.c.datetime_start, trials.c.datetime_complete]
        statement = _selected(*columns).order_by(trials.c.trial_id)
    else:
        own = rows.join(trials, rows.c.trial_id == trials.c.trial_id)
        statement = _selected(*rows.c).select_from(own)
    return statement.where(trials.c.study_id == sa.bindparam("study", type_=sa.Integer()), wanted)


@cache
def _open_attempts() -> sa.Select[Any]:
    """How many attributes and reports each of a ``study``'s open attempts has."""
    import sqlalchemy as sa

    trials = _table("trials")
    counts = [
        sa.select(sa.func.count()).where(rows.c.trial_id == trials.c.trial_id).correlate(trials).scalar_subquery()
        for rows in (_table("trial_system_attributes"), _table("trial_intermediate_values"))
    ]
    running = trials.c.state == sa.literal_column("'RUNNING'")  # of a type that only the database knows
    own = trials.c.study_id == sa.bindparam("study", type_=sa.Integer())
    return sa.select(trials.c.trial_id, *counts).where(own, running)


def reports_of(connection: sa.Connection, trial: int) -> list[float]:
    columns = ("intermediate_value", "intermediate_value_type")
    rows = connection.execute(_select("trial_intermediate_values", *columns, trial_id=trial))
    return [_NO_FINITE.get(kind, value) for value, kind in rows]


def study_attributes(connection: sa.Connection, study: int, start: str) -> dict[str, Any]:
    """Those of the study's own attributes whose names begin with ``start``."""
    named = _table("study_system_attributes").c.key.startswith(start, autoescape=True)
    rows = connection.execute(_select("study_system_attributes", "key", "value_json", study_id=study).where(named))
    return {key: json.loads(value) for key, value in rows}


@cache
def _table(name: str) -> sa.TableClause:
    """The columns of Optuna's that are read here."""
    import sqlalchemy as sa

    moments = [sa.column(name, sa.DateTime()) for name in ("datetime_start", "datetime_complete")]
    columns: dict[str, list[sa.ColumnClause[Any]]] = {
        "studies": [sa.column("study_id"), sa.column("study_name")],
        "study_system_attributes": [sa.column("study_id"), sa.column("key"), sa.column("value_json")],
        "trials": [sa.column("trial_id"), sa.column("study_id"), sa.column("state"), *moments],
        "trial_system_attributes": [sa.column("trial_id"), sa.column("key"), sa.column("value_json")],
        "trial_intermediate_values": [
            sa.column("trial_id"),
            sa.column("step"),
            sa.column("intermediate_value"),
            sa.column("intermediate_value_type"),
        ],
    }
    return sa.table(name, *columns[name])


def _selected(*columns: sa.ColumnClause[Any]) -> sa.Select[Any]:
    import sqlalchemy as sa

    return sa.select(*columns)


def _select(table: str, *columns: str, **equal: Any) -> sa.Select[Any]:
    rows = _table(table)
    conditions = [rows.c[name] == value for name, value in equal.items()]
    return _selected(*(rows.c[name] for name in columns)).where(*conditions)


def _moment(stored: datetime | None) -> datetime | None:
    return stored.replace(tzinfo=UTC) if stored is not None and in_utc() else stored


@cache
def in_utc() -> bool:
    """Whether Optuna's databases have UTC, as from 5.0 on, or local time; neither says so itself."""
    return int(version("optuna").partition(".")[0]) >= 5
