"""The statements that write to Optuna's tables, each in a transaction of the caller.

They keep ``RDBStorage``'s rules: a closed attempt is not written to any more, and the attempts of a study are created
one after another. Each may be repeated, because the answer to the first try may have been lost.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from wandbsweep.storage.base import AttemptClosedError, AttemptState, NewAttempt, StoredParam
from wandbsweep.storage.optuna_private import read_tables, stores_utc

_CLOSED_STATES = [state.name for state in AttemptState if state.closed]
_SAME = "same_"
_REPLACED = "wandbsweep:anew:"

_TABLES = read_tables()
_studies, _trials = _TABLES["studies"], _TABLES["trials"]
_attributes, _params = _TABLES["trial_system_attributes"], _TABLES["trial_params"]
_values, _reports = _TABLES["trial_values"], _TABLES["trial_intermediate_values"]

_COUNT = sa.select(sa.func.count()).select_from(_trials).where(_trials.c.study_id == sa.bindparam("study"))
# A lock that does not block writes of the study's attributes, which refer to its row.
_LOCK = sa.select(_studies.c.study_id).where(_studies.c.study_id == sa.bindparam("study"))
_LOCK = _LOCK.with_for_update(key_share=True)
_STATE = sa.select(_trials.c.state).where(_trials.c.trial_id == sa.bindparam("trial"))


def create_attempt(connection: sa.Connection, study: int, build: Callable[[int], NewAttempt]) -> int:
    """Create the attempt that ``build`` returns, given the number of earlier ones, and return its key."""
    _lock_study(connection, study)
    number: int = connection.execute(_COUNT, {"study": study}).scalar_one()
    new = build(number)
    row = {"study_id": study, "number": number, "state": AttemptState.RUNNING.name, "datetime_start": _now()}
    (key,) = connection.execute(_build_insert(_trials), row).inserted_primary_key or (None,)
    assert key is not None
    _insert(connection, _attributes, _make_attribute_rows(key, new.attributes))
    _insert(connection, _params, _make_param_rows(key, new.params))
    _insert(connection, _reports, [_make_report_row(key, step, value) for step, value in new.reports.items()])
    return int(key)


def set_params(
    connection: sa.Connection,
    attempt: int,
    attributes: Mapping[str, Any],
    params: Mapping[str, StoredParam],
    *,
    replace: bool = False,
) -> None:
    """Write parameters and attributes of an attempt.

    Args:
        connection: A connection that is in a transaction.
        attempt: Its key.
        attributes: All attributes that go with the parameters.
        params: All its parameters.
        replace: Whether to remove its earlier ones first. Other processes see from the *number* of an attempt's
            attributes whether there is something to read (``AttemptQueries``), so this also adds one.
    """
    if replace:
        _refuse_closed(connection, attempt)
        attributes = {**attributes, _REPLACED + secrets.token_hex(4): None}
        same = _attributes.c.trial_id == attempt, _attributes.c.key.in_(list(attributes))
        connection.execute(sa.delete(_attributes).where(*same))
        connection.execute(sa.delete(_params).where(_params.c.trial_id == attempt))
    for row in _make_attribute_rows(attempt, attributes):
        _insert_if_open(connection, _attributes, row)
    _insert(connection, _params, _make_param_rows(attempt, params))


def report(connection: sa.Connection, attempt: int, step: int, value: float, *, replace: bool = False) -> None:
    """Add a report, or ``replace`` the one for ``step``."""
    row = _make_report_row(attempt, step, value)
    _write_to_open(connection, _reports, ("trial_id", "step"), row, replace=replace)


def set_attribute(connection: sa.Connection, attempt: int, name: str, value: Any, *, replace: bool = False) -> None:
    """Add an attribute, or ``replace`` the one of this name."""
    (row,) = _make_attribute_rows(attempt, {name: value})
    _write_to_open(connection, _attributes, ("trial_id", "key"), row, replace=replace)


def close_attempt(connection: sa.Connection, attempt: int, state: AttemptState, values: Sequence[float] | None) -> None:
    close = sa.update(_trials).where(_trials.c.trial_id == attempt, _trials.c.state.not_in(_CLOSED_STATES))
    if not connection.execute(close.values(state=state.name, datetime_complete=_now())).rowcount:
        _refuse_closed(connection, attempt)
    for objective, value in enumerate(values or ()):
        stored, kind = _encode_number(value)
        row = {"trial_id": attempt, "objective": objective, "value": stored, "value_type": kind}
        _insert_or_replace(connection, _values, ("trial_id", "objective"), row)


def set_study_attribute(connection: sa.Connection, study: int, name: str, value: Any) -> None:
    table = _TABLES["study_system_attributes"]
    row = {"study_id": study, "key": name, "value_json": json.dumps(value)}
    _insert_or_replace(connection, table, ("study_id", "key"), row)


def _lock_study(connection: sa.Connection, study: int) -> None:
    """Keep others from creating an attempt in ``study`` until the transaction ends."""
    if connection.dialect.name == "sqlite":  # it has no locks on rows: a writer locks the whole file
        found = _replace(connection, _studies, ("study_id",), {"study_id": study})
    else:
        found = connection.execute(_LOCK, {"study": study}).first() is not None
    if not found:
        raise KeyError(f"There is no study {study}.")


def _refuse_closed(connection: sa.Connection, attempt: int) -> None:
    state = connection.execute(_STATE, {"trial": attempt}).scalar()
    if state is None or state.name in _CLOSED_STATES:
        raise AttemptClosedError(f"Attempt {attempt} is closed, or does not exist.")


def _write_to_open(
    connection: sa.Connection, table: sa.Table, key: Sequence[str], row: Mapping[str, Any], *, replace: bool
) -> None:
    """Add a row of an attempt that is open, in one statement, or ``replace`` the one with the same ``key``."""
    if replace:
        _refuse_closed(connection, row["trial_id"])
        _replace(connection, table, key, row)
    else:
        _insert_if_open(connection, table, row)


def _insert_if_open(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
    if connection.execute(_build_insert_if_open(table, tuple(row)), dict(row)).rowcount != 1:
        _refuse_closed(connection, row["trial_id"])  # or the number is -1, because SQLAlchemy cannot tell


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(_build_insert(table), rows)


def _insert_or_replace(connection: sa.Connection, table: sa.Table, key: Sequence[str], row: Mapping[str, Any]) -> None:
    if not _replace(connection, table, key, row):
        _insert(connection, table, [row])


def _replace(connection: sa.Connection, table: sa.Table, key: Sequence[str], row: Mapping[str, Any]) -> bool:
    """Update the row with the same ``key``. Returns whether there is one."""
    same = {_SAME + name: row[name] for name in key}
    return bool(connection.execute(_build_update(table, tuple(key)), {**row, **same}).rowcount)


# Statements are built once: building one takes longer than executing it.


@cache
def _build_insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table)


@cache
def _build_insert_if_open(table: sa.Table, columns: tuple[str, ...]) -> sa.Insert:
    """Return the insertion of one row of an attempt, if that is open."""
    row = sa.select(*(sa.bindparam(name, type_=table.c[name].type) for name in columns)).select_from(_trials)
    row = row.where(_trials.c.trial_id == sa.bindparam("trial_id"), _trials.c.state.not_in(_CLOSED_STATES))
    return sa.insert(table).from_select(columns, row).execution_options(preserve_rowcount=True)


@cache
def _build_update(table: sa.Table, key: tuple[str, ...]) -> sa.Update:
    """Return the update of the row whose ``key`` columns equal the parameters ``same_…``, with the other parameters."""
    return sa.update(table).where(*(table.c[name] == sa.bindparam(_SAME + name) for name in key))


def _make_attribute_rows(attempt: int, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": attempt, "key": key, "value_json": json.dumps(value)} for key, value in values.items()]


def _make_param_rows(attempt: int, params: Mapping[str, StoredParam]) -> list[dict[str, Any]]:
    return [
        {"trial_id": attempt, "param_name": name, "param_value": param.value, "distribution_json": param.distribution}
        for name, param in params.items()
    ]


def _make_report_row(attempt: int, step: int, value: float) -> dict[str, Any]:
    stored, kind = _encode_number(value)
    return {"trial_id": attempt, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _encode_number(value: float) -> tuple[float | None, str]:
    """Return a number's value and type, as Optuna's tables hold it: databases differ in what they make of NaN."""
    if math.isfinite(value):
        return value, "FINITE"
    return None, "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) if stores_utc() else datetime.now()
