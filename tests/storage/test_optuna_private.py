"""Optuna's private parts that ``storage/optuna_private.py`` copies or reads: the same in the installed version.

If one of these fails, Optuna has moved it: the message names what. Mend that module, or bound the version in
pyproject.toml.
"""

from __future__ import annotations

import time
from importlib.metadata import version

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from wandbsweep.storage.base import AttemptState
from wandbsweep.storage.database_queries import _to_unix
from wandbsweep.storage.optuna_private import DIRECTIONS, Operation, define_tables, read_trial_id, stores_utc

MOVED = f"Optuna {version('optuna')} has moved"


def test_journal_operations() -> None:
    from optuna.storages.journal._storage import JournalOperation

    theirs = {operation.name: operation.value for operation in JournalOperation}
    for operation in Operation:
        assert theirs.get(operation.name) == operation, f"{MOVED} JournalOperation.{operation.name}"


def test_states_and_directions() -> None:
    assert {state.name: state.value for state in AttemptState} == {s.name: s.value for s in TrialState}, (
        f"{MOVED} TrialState"
    )
    assert {s.name for s in AttemptState if s.closed} == {s.name for s in TrialState if s.is_finished()}
    for goal, number in DIRECTIONS.items():
        assert StudyDirection[goal.upper()] == number, f"{MOVED} StudyDirection.{goal.upper()}"


@pytest.mark.parametrize("name", sorted(define_tables()))
def test_tables(name: str) -> None:
    from optuna.storages._rdb import models

    theirs = models.BaseModel.metadata.tables.get(name)
    assert theirs is not None, f"{MOVED} the table {name}"
    ours = define_tables()[name]
    for column in ours.columns:
        assert column.name in theirs.columns, f"{MOVED} the column {name}.{column.name}"
        other = theirs.columns[column.name]
        assert column.primary_key == other.primary_key, f"{MOVED} the primary key of {name}"
        assert isinstance(other.type, type(column.type)), f"{MOVED} the type of {name}.{column.name}"
        if isinstance(column.type, sa.Enum):
            assert isinstance(other.type, sa.Enum)
            assert (column.type.enums, column.type.name) == (other.type.enums, other.type.name), (
                f"{MOVED} the values of {name}.{column.name}"
            )
    left_out = {column.name for column in theirs.columns if not column.nullable and not column.primary_key}
    assert left_out <= set(ours.columns.keys()), f"{MOVED} on: {name} has a column that must be written"


def test_a_trials_key() -> None:
    assert read_trial_id(create_trial(value=0.5)) == -1, f"{MOVED} FrozenTrial._trial_id"


def test_times_in_databases() -> None:
    """What Optuna writes is read as this very moment."""
    storage = RDBStorage("sqlite://")
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    storage.create_new_trial(study)
    with storage.engine.connect() as connection:
        (stored,) = connection.execute(sa.select(define_tables()["trials"].c.datetime_start)).one()
    assert _to_unix(stored) == pytest.approx(time.time(), abs=60), f"{MOVED} what `stores_utc` ({stores_utc()}) says"
