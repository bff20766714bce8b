"""The undocumented parts of Optuna that the storages rely on.

Each entry says why. ``tests/storage/test_optuna_private.py`` compares them with the installed Optuna and names what
has changed; ``pyproject.toml`` bounds the versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

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
    """Return a trial's key in the storage. Pruners and storages use this key, not the trial's public number."""
    return trial._trial_id


@cache
def stores_utc() -> bool:
    """Whether Optuna's databases hold UTC, as from 5.0 on, or local time. Neither the tables nor the API say so."""
    return int(version("optuna").partition(".")[0]) >= 5


@cache
def read_tables() -> Mapping[str, sa.Table]:
    """Return the tables of Optuna's database schema, by name.

    Hundreds of agents query a database all the time, and ``RDBStorage`` needs several statements and objects where one
    statement is enough. It still creates the tables and upgrades them.
    """
    from optuna.storages._rdb import models

    tables: Mapping[str, sa.Table] = models.BaseModel.metadata.tables
    return tables
