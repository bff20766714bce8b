"""What agents write to Optuna's tables, in statements of our own: Optuna's objects take several times as long.

The rules are Optuna's (``RDBStorage``): what has ended is not written to any more, and the trials of a study are
created one after another.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.storage.database_reader import in_utc

_FINISHED = [state for state in TrialState if state.is_finished()]
_ABSENT = "Record does not exist."
_SAME = "same_"
_ANEW = "wandbsweep:anew:"

_studies, _trials = models.StudyModel.__table__, models.TrialModel.__table__
_COUNT = sa.select(sa.func.count()).select_from(_trials).where(_trials.c.study_id == sa.bindparam("study"))
# Not in the way of attributes of the study.
_LOCK = sa.select(_studies.c.study_id).where(_studies.c.study_id == sa.bindparam("study"))
_LOCK = _LOCK.with_for_update(key_share=True)
_STATE = sa.select(_trials.c.state, _trials.c.number).where(_trials.c.trial_id == sa.bindparam("trial"))


def create(connection: sa.Connection, study: int, made: Callable[[int], FrozenTrial]) -> tuple[int, int]:
    """The id and the number of a new trial: the one that ``made`` gives for its number. Others wait meanwhile."""
    _have_to_oneself(connection, study)
    number: int = connection.execute(_COUNT, {"study": study}).scalar_one()
    template = made(number)
    row = {
        "study_id": study,
        "number": number,
        "state": template.state,
        "datetime_start": _stored(template.datetime_start),
        "datetime_complete": _stored(template.datetime_complete),
    }
    (key,) = connection.execute(_insertion(models.TrialModel), row).inserted_primary_key or (None,)
    assert key is not None
    _insert(connection, models.TrialUserAttributeModel, _attributes(key, template.user_attrs))
    _insert(connection, models.TrialSystemAttributeModel, _attributes(key, template.system_attrs))
    internal = {
        name: (distribution.to_internal_repr(template.params[name]), distribution)
        for name, distribution in template.distributions.items()
    }
    _insert(connection, models.TrialParamModel, _params(key, internal))
    _insert(connection, models.TrialValueModel, [_value(key, *pair) for pair in enumerate(template.values or ())])
    _insert(
        connection,
        models.TrialIntermediateValueModel,
        [_report(key, step, value) for step, value in template.intermediate_values.items()],
    )
    return int(key), number


def choose(
    connection: sa.Connection,
    trial: int,
    attributes: Mapping[str, Any],
    params: Mapping[str, tuple[float, BaseDistribution]],
    *,
    anew: bool = False,
) -> None:
    """Write attributes and parameters of a trial; ``anew``: in place of those that it has.

    Whoever has read these counts a trial's attributes to see whether there is something to read (``StoredAttempts``).
    """
    if anew:
        attributes = {**attributes, _ANEW + secrets.token_hex(4): None}
        stored, own = models.TrialSystemAttributeModel.__table__, models.TrialParamModel.__table__
        connection.execute(sa.delete(stored).where(stored.c.trial_id == trial, stored.c.key.in_(list(attributes))))
        connection.execute(sa.delete(own).where(own.c.trial_id == trial))
    _insert(connection, models.TrialSystemAttributeModel, _attributes(trial, attributes))
    _insert(connection, models.TrialParamModel, _params(trial, params))


def report(connection: sa.Connection, trial: int, step: int, value: float, *, anew: bool = False) -> None:
    """``anew``: in place of what was reported at ``step``, as below."""
    row = _report(trial, step, value)
    _set(connection, models.TrialIntermediateValueModel, ("trial_id", "step"), row, anew=anew)


def set_attribute(connection: sa.Connection, trial: int, key: str, value: Any, *, anew: bool = False) -> None:
    (row,) = _attributes(trial, {key: value})
    _set(connection, models.TrialSystemAttributeModel, ("trial_id", "key"), row, anew=anew)


def close(connection: sa.Connection, trial: int, state: TrialState, values: Sequence[float] | None) -> None:
    ended = sa.update(_trials).where(_trials.c.trial_id == trial, _trials.c.state.not_in(_FINISHED))
    moment = _stored(datetime.now())
    if not connection.execute(ended.values(state=state, datetime_complete=moment)).rowcount:
        _refuse_ended(connection, trial)
    for objective, value in enumerate(values or ()):
        _put(connection, models.TrialValueModel, ("trial_id", "objective"), _value(trial, objective, value))


def set_study_attribute(connection: sa.Connection, study: int, key: str, value: Any) -> None:
    row = {"study_id": study, "key": key, "value_json": json.dumps(value)}
    if _replaced(connection, models.StudySystemAttributeModel, ("study_id", "key"), row):
        return
    if connection.execute(sa.select(_studies.c.study_id).where(_studies.c.study_id == study)).first() is None:
        raise KeyError(_ABSENT)
    _insert(connection, models.StudySystemAttributeModel, [row])


def _have_to_oneself(connection: sa.Connection, study: int) -> None:
    """Let nobody else create a trial in ``study`` until the transaction ends."""
    if connection.dialect.name == "sqlite":  # has no locks on rows: who writes has the file
        found = _replaced(connection, models.StudyModel, ("study_id",), {"study_id": study})
    else:
        found = connection.execute(_LOCK, {"study": study}).first() is not None
    if not found:
        raise KeyError(_ABSENT)


def _refuse_ended(connection: sa.Connection, trial: int) -> None:
    row = connection.execute(_STATE, {"trial": trial}).first()
    if row is None:
        raise KeyError(_ABSENT)
    if row.state.is_finished():
        raise UpdateFinishedTrialError(f"Trial#{row.number} has already finished and can not be updated.")


def _set(connection: sa.Connection, model: Any, key: Sequence[str], row: Mapping[str, Any], *, anew: bool) -> None:
    """Add a row of a trial that has not ended, in one statement; ``anew``: replace the one with the same ``key``."""
    if anew:
        _refuse_ended(connection, row["trial_id"])
        _replaced(connection, model, key, row)
    elif connection.execute(_addition(model, tuple(row)), dict(row)).rowcount != 1:  # -1: SQLAlchemy cannot tell
        _refuse_ended(connection, row["trial_id"])


def _insert(connection: sa.Connection, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(_insertion(model), rows)


def _put(connection: sa.Connection, model: Any, key: Sequence[str], row: Mapping[str, Any]) -> None:
    """Replace the row with the same ``key``, or add this one."""
    if not _replaced(connection, model, key, row):
        _insert(connection, model, [row])


def _replaced(connection: sa.Connection, model: Any, key: Sequence[str], row: Mapping[str, Any]) -> bool:
    same = {_SAME + name: row[name] for name in key}
    return bool(connection.execute(_update(model, tuple(key)), {**row, **same}).rowcount)


@cache
def _insertion(model: Any) -> sa.Insert:
    """Made once, as ``_update``: to make a statement takes longer than to have it done."""
    return sa.insert(model.__table__)


@cache
def _addition(model: Any, columns: tuple[str, ...]) -> sa.Insert:
    """Of one row of a trial, if that has not ended."""
    table = model.__table__
    row = sa.select(*(sa.bindparam(name, type_=table.c[name].type) for name in columns)).select_from(_trials)
    going = row.where(_trials.c.trial_id == sa.bindparam("trial_id"), _trials.c.state.not_in(_FINISHED))
    return sa.insert(table).from_select(columns, going).execution_options(preserve_rowcount=True)


@cache
def _update(model: Any, key: tuple[str, ...]) -> sa.Update:
    """Of the row whose columns ``key`` hold what is given under their names after ``same_``, to all that is given."""
    table = model.__table__
    return sa.update(table).where(*(table.c[name] == sa.bindparam(_SAME + name) for name in key))


def _attributes(trial: int, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": trial, "key": key, "value_json": json.dumps(value)} for key, value in values.items()]


def _params(trial: int, params: Mapping[str, tuple[float, BaseDistribution]]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial, "param_name": name, "param_value": value, "distribution_json": distribution_to_json(of)}
        for name, (value, of) in params.items()
    ]


def _value(trial: int, objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial, "objective": objective, "value": stored, "value_type": kind}


def _report(trial: int, step: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"trial_id": trial, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _stored(moment: datetime | None) -> datetime | None:
    """As Optuna's databases have it."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment is not None and in_utc() else moment
