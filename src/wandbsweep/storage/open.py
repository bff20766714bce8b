"""Where a sweep's state is kept: opening it, and the study in it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.journal import JournalFile, JournalInMemory, WatchedJournal
from wandbsweep.storage.journal_reader import JOURNAL
from wandbsweep.storage.json_codec import packed
from wandbsweep.storage.leases import LEASES, FileLeases, Leases, StoredLeases

if TYPE_CHECKING:
    from wandbsweep.storage.database import Database

SEED = "wandbsweep:seed"
IDENTITY = "wandbsweep:identity"
KNOWN = "wandbsweep:known"
ORIGIN = "wandbsweep:origin"
"""The sweep's configuration and directory, for who knows only the store."""

Store: TypeAlias = "WatchedJournal | Database"

OPENING_S = 5.0
"""How long somebody who looks on waits for a database, in seconds: a wrong address is to be told soon."""

_PATIENCE_S = 30.0
_POLL_S = 0.02

_DIRECTIONS = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}


def open_storage(path: Path | None, url: str | None = None, *, wait_s: float = OPENING_S) -> Store:
    """The database at ``url``, for which to wait ``wait_s`` seconds, else the journal in ``path``, else memory."""
    if url is None:
        return WatchedJournal(JournalInMemory() if path is None else JournalFile(path / JOURNAL))
    from wandbsweep.storage.database import open_database

    return open_database(url, wait_s=wait_s)


def leases_of(storage: Store, study: int, path: Path | None) -> Leases | None:
    """Where the agents' leases are; None: in memory, where all agents die together."""
    if not isinstance(storage, WatchedJournal):
        return StoredLeases(storage, study)
    return None if path is None else FileLeases(path / LEASES)


def read_ledger(storage: BaseStorage, study_name: str, goal: str) -> TrialTable:
    """What ``storage`` knows of a sweep's trials, without a controller."""
    ledger = TrialTable(goal)
    try:
        study = storage.get_study_id_from_name(study_name)
    except KeyError:  # set up, and not started yet
        return ledger
    ledger.update(storage.get_all_trials(study, deepcopy=False))
    return ledger


def open_study(
    storage: BaseStorage,
    name: str,
    spec: SweepSpec,
    seed: int | None,
    *,
    find_known: Callable[[], Sequence[Mapping[str, Any]]],
    directory: Path | None = None,
) -> int:
    """The id of the study ``name``, made for ``spec`` if there is none.

    ``find_known`` returns the trials of other sweeps to store with a new study; it is called for a new one only.
    """
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    goals = [metric.goal for metric in spec.metrics] or [spec.goal]
    with suppress(KeyError):
        return storage.get_study_id_from_name(name)
    known = list(find_known())  # only now: the other sweeps may be gone when another agent joins
    try:
        study = storage.create_new_study([_DIRECTIONS[goal] for goal in goals], name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)
    if known:
        storage.set_study_system_attr(study, KNOWN, known)
    if not isinstance(storage, WatchedJournal):  # beside a journal stands the directory itself
        origin = {"config": packed(spec.dump()), "directory": None if directory is None else str(directory)}
        storage.set_study_system_attr(study, ORIGIN, origin)
    storage.set_study_system_attr(study, IDENTITY, spec.identity)
    storage.set_study_system_attr(study, SEED, random.SystemRandom().getrandbits(32) if seed is None else seed)
    return study


def study_attributes(storage: BaseStorage, study: int) -> dict[str, Any]:
    """What ``open_study`` noted down; whoever created the study may be about to write it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        attributes = storage.get_study_system_attrs(study)
        if SEED in attributes:
            return attributes
        if time.monotonic() > deadline:
            raise SweepDirectoryError("The store holds a study without a seed: it was not made by wandbsweep.")
        time.sleep(_POLL_S)
