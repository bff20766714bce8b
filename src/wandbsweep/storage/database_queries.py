"""The statements that read Optuna's tables, faster than Optuna, which builds its objects row by row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa

from wandbsweep.storage.base import AttemptState, StoredAttempt
from wandbsweep.storage.optuna_private import read_tables, stores_utc

# How many attempts are named in one statement; databases limit that.
_NAMED = 500
_NOT_FINITE = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}
_DETAILS = ("trial_system_attributes", "trial_intermediate_values")

_TABLES = read_tables()


def find_study(connection: sa.Connection, name: str) -> int | None:
    studies = _TABLES["studies"]
    statement = sa.select(studies.c.study_id).where(studies.c.study_name == name)
    found: int | None = connection.execute(statement).scalar()
    return found


def list_studies(connection: sa.Connection) -> list[str]:
    return sorted(connection.execute(sa.select(_TABLES["studies"].c.study_name)).scalars())


def read_study_attributes(connection: sa.Connection, study: int, prefix: str = "") -> dict[str, Any]:
    """Return those of the study's own attributes whose names begin with ``prefix``."""
    table = _TABLES["study_system_attributes"]
    statement = sa.select(table.c.key, table.c.value_json).where(table.c.study_id == study)
    if prefix:
        statement = statement.where(table.c.key.startswith(prefix, autoescape=True))
    return {key: json.loads(value) for key, value in connection.execute(statement)}


def read_reports(connection: sa.Connection, attempt: int) -> dict[int, float]:
    table = _TABLES["trial_intermediate_values"]
    statement = sa.select(table.c.step, table.c.intermediate_value, table.c.intermediate_value_type)
    rows = connection.execute(statement.where(table.c.trial_id == attempt))
    return {step: _NOT_FINITE.get(kind.name, value) for step, value, kind in rows}


def read_attempt(connection: sa.Connection, attempt: int) -> StoredAttempt:
    trials = _TABLES["trials"]
    study = connection.execute(sa.select(trials.c.study_id).where(trials.c.trial_id == attempt)).scalar_one()
    (found,) = AttemptQueries(study).read(connection, [attempt], new=False)
    return found


class AttemptQueries:
    """Reads the attempts of one study: each time those that are new, and those that were open the last time.

    With ``counting``, for a process that reads all the time, an open attempt is read again only if it has more reports
    or attributes than before, or is no longer open. A replaced report or attribute is then seen later.
    """

    def __init__(self, study: int, *, counting: bool = False) -> None:
        self.study = study
        self._counting = counting
        self._last = -1
        """The greatest key seen so far."""
        self._open: dict[int, tuple[int, int]] = {}
        """How many attributes and reports each open attempt had."""

    def read_changes(self, connection: sa.Connection, *, created_only: bool = False) -> list[StoredAttempt]:
        """Return what changed since the last call of ``note``. If the answer is lost, the call can be repeated."""
        if created_only:
            return self.read(connection, [])
        return self.read(connection, sorted(self._find_changed(connection) if self._counting else self._open))

    def note(self, found: Sequence[StoredAttempt]) -> None:
        """Note that an answer of ``read_changes`` has arrived."""
        for attempt in found:
            self._last = max(self._last, attempt.key)
            self._open.pop(attempt.key, None)
            if not attempt.closed:
                self._open[attempt.key] = len(attempt.attributes), len(attempt.reports)

    def read(self, connection: sa.Connection, again: Sequence[int], *, new: bool = True) -> list[StoredAttempt]:
        """Return the attempts ``again``, and the ``new`` ones.

        The states are read first. So if an attempt is closed, its outcome and all its reports are read with it.
        """
        found: dict[int, StoredAttempt] = {}
        for key, state, started, ended in self._read_rows(connection, "trials", again, new):
            found[key] = StoredAttempt(key, AttemptState[state.name], _to_unix(started), _to_unix(ended), {}, {})
        if found:
            for key, name, value in self._read_rows(connection, "trial_system_attributes", again, new):
                if key in found:
                    found[key].attributes[name] = json.loads(value)
            for key, step, number, kind in self._read_rows(connection, "trial_intermediate_values", again, new):
                if key in found:
                    found[key].reports[step] = _NOT_FINITE.get(kind.name, number)
        return [found[key] for key in sorted(found)]

    def _find_changed(self, connection: sa.Connection) -> Iterator[int]:
        """Yield the attempts noted as open that have more rows than they had, or were closed."""
        if not self._open:
            return
        counts = connection.execute(_build_counts(), {"study": self.study}).all()
        now = {key: (attributes, reports) for key, attributes, reports in counts}
        yield from (key for key, before in self._open.items() if now.get(key) != before)

    def _read_rows(self, connection: sa.Connection, table: str, again: Sequence[int], new: bool) -> Iterator[Any]:
        start = 0
        if new:
            which: Literal["new", "both"] = "both" if again else "new"
            bound = {"study": self.study, "last": self._last, **({"again": again[:_NAMED]} if again else {})}
            yield from connection.execute(_build_selection(table, which), bound).all()
            start = _NAMED
        for at in range(start, len(again), _NAMED):
            bound = {"study": self.study, "again": again[at : at + _NAMED]}
            yield from connection.execute(_build_selection(table, "named"), bound).all()


# Statements are built once: building one takes longer than executing it.


@cache
def _build_selection(table: str, which: Literal["new", "named", "both"]) -> sa.Select[Any]:
    """Return the selection of the rows of a study's attempts: those after ``last``, those named ``again``, or both."""
    trials, rows = _TABLES["trials"], _TABLES[table]
    new = rows.c.trial_id > sa.bindparam("last", type_=sa.Integer())
    named = rows.c.trial_id.in_(sa.bindparam("again", expanding=True, type_=sa.Integer()))
    if table == "trials":
        times = trials.c.datetime_start, trials.c.datetime_complete
        statement: sa.Select[Any] = sa.select(trials.c.trial_id, trials.c.state, *times).order_by(trials.c.trial_id)
    else:
        columns = [column for column in rows.c if not column.primary_key]
        statement = sa.select(*columns).select_from(rows.join(trials, rows.c.trial_id == trials.c.trial_id))
    wanted = {"new": new, "named": named, "both": new | named}[which]
    return statement.where(trials.c.study_id == sa.bindparam("study", type_=sa.Integer()), wanted)


@cache
def _build_counts() -> sa.Select[Any]:
    """Return the selection of how many attributes and reports each of a study's open attempts has."""
    trials = _TABLES["trials"]
    counts = [
        sa.select(sa.func.count()).where(rows.c.trial_id == trials.c.trial_id).correlate(trials).scalar_subquery()
        for rows in map(_TABLES.__getitem__, _DETAILS)
    ]
    own = trials.c.study_id == sa.bindparam("study", type_=sa.Integer())
    return sa.select(trials.c.trial_id, *counts).where(own, trials.c.state == AttemptState.RUNNING.name)


def _to_unix(stored: datetime | None) -> float | None:
    if stored is None:
        return None
    return (stored.replace(tzinfo=UTC) if stores_utc() else stored).timestamp()
