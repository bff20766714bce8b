"""What the storages rely on although Optuna does not document it.

Each entry says why. ``tests/storage/test_optuna_private.py`` compares them with the installed Optuna and names what
has moved; ``pyproject.toml`` bounds the versions.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa
    from optuna.trial import FrozenTrial


class Operation(IntEnum):
    """The journal's ``JournalOperation``: what each record does.

    The journal is written and read without Optuna's ``JournalStorage``, whose objects take several times as long to
    build and which can only list all trials, not those that changed.
    """

    CREATE_STUDY = 0
    DELETE_STUDY = 1
    SET_STUDY_SYSTEM_ATTR = 3
    CREATE_TRIAL = 4
    SET_TRIAL_PARAM = 5
    SET_TRIAL_STATE_VALUES = 6
    SET_TRIAL_INTERMEDIATE_VALUE = 7
    SET_TRIAL_SYSTEM_ATTR = 9


DIRECTIONS = {"minimize": 1, "maximize": 2}
"""The numbers of ``StudyDirection``, as a journal stores them. They are public, but importing them is slow."""


def read_trial_id(trial: FrozenTrial) -> int:
    """Return a trial's key in the storage. Its public number is no key: pruners and storages go by the key."""
    return trial._trial_id


@cache
def stores_utc() -> bool:
    """Whether Optuna's databases hold UTC, as from 5.0 on, or local time. Neither the tables nor the API say so."""
    return int(version("optuna").partition(".")[0]) >= 5


@cache
def define_tables() -> dict[str, sa.Table]:
    """Return the tables of Optuna's database schema (``optuna.storages._rdb.models``) with the columns used here.

    Hundreds of agents ask a database all the time, and ``RDBStorage`` needs several statements and objects for what
    one statement can do. It still creates the tables and upgrades them.
    """
    import sqlalchemy as sa

    finite = ("FINITE", "INF_POS", "INF_NEG")
    types: dict[str, sa.types.TypeEngine[Any]] = {
        "state": sa.Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate"),
        "value_type": sa.Enum(*finite, name="trialvaluetype"),
        "intermediate_value_type": sa.Enum(*finite, "NAN", name="trialintermediatevaluetype"),
        **dict.fromkeys(("trial_id", "study_id", "number", "objective", "step"), sa.Integer()),
        **dict.fromkeys(("value", "param_value", "intermediate_value"), sa.Float(precision=53)),
        **dict.fromkeys(("datetime_start", "datetime_complete"), sa.DateTime()),
        **dict.fromkeys(("study_name", "param_name", "key", "library_version"), sa.String(512)),
        **dict.fromkeys(("value_json", "distribution_json"), sa.Text()),
    }

    def define(name: str, primary_key: str, columns: str) -> sa.Table:
        others = [sa.Column(column, types[column]) for column in columns.split()]
        return sa.Table(name, sa.MetaData(), sa.Column(primary_key, sa.Integer, primary_key=True), *others)

    return {name: define(name, *columns) for name, columns in _TABLES.items()}


_TABLES = {
    "studies": ("study_id", "study_name"),
    "study_system_attributes": ("study_system_attribute_id", "study_id key value_json"),
    "trials": ("trial_id", "number study_id state datetime_start datetime_complete"),
    "trial_system_attributes": ("trial_system_attribute_id", "trial_id key value_json"),
    "trial_params": ("param_id", "trial_id param_name param_value distribution_json"),
    "trial_values": ("trial_value_id", "trial_id objective value value_type"),
    "trial_intermediate_values": (
        "trial_intermediate_value_id",
        "trial_id step intermediate_value intermediate_value_type",
    ),
    "version_info": ("version_info_id", "library_version"),
}
"""The primary key and the other columns of each table."""
