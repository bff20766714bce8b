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
from wandbsweep.storage.optuna_private import DIRECTIONS, Operation, read_tables, read_trial_id, stores_utc

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


COLUMNS = {
    "studies": {"study_id", "study_name"},
    "study_system_attributes": {"study_id", "key", "value_json"},
    "trials": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "trial_system_attributes": {"trial_id", "key", "value_json"},
    "trial_params": {"trial_id", "param_name", "param_value", "distribution_json"},
    "trial_values": {"trial_id", "objective", "value", "value_type"},
    "trial_intermediate_values": {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
    "version_info": {"library_version"},
}
VALUES = {
    ("trials", "state"): {state.name for state in AttemptState},
    ("trial_values", "value_type"): {"FINITE", "INF_POS", "INF_NEG"},
    ("trial_intermediate_values", "intermediate_value_type"): {"FINITE", "INF_POS", "INF_NEG", "NAN"},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_tables(name: str) -> None:
    table = read_tables().get(name)
    assert table is not None, f"{MOVED} the table {name}"
    for column in COLUMNS[name]:
        assert column in table.columns, f"{MOVED} the column {name}.{column}"
    required = {column.name for column in table.columns if not column.nullable and not column.primary_key}
    assert required <= COLUMNS[name], f"{MOVED} on: {name} has another column that must be written"


@pytest.mark.parametrize(("name", "column"), VALUES)
def test_values(name: str, column: str) -> None:
    kind = read_tables()[name].columns[column].type
    assert isinstance(kind, sa.Enum)
    assert set(kind.enums) == VALUES[name, column], f"{MOVED} the values of {name}.{column}"


def test_a_trials_key() -> None:
    assert read_trial_id(create_trial(value=0.5)) == -1, f"{MOVED} FrozenTrial._trial_id"


def test_times_in_databases() -> None:
    """What Optuna writes is read as this very moment."""
    storage = RDBStorage("sqlite://")
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    storage.create_new_trial(study)
    with storage.engine.connect() as connection:
        (stored,) = connection.execute(sa.select(read_tables()["trials"].c.datetime_start)).one()
    assert _to_unix(stored) == pytest.approx(time.time(), abs=60), f"{MOVED} what `stores_utc` ({stores_utc()}) says"
