"""A storage on an append-only log, in the format of Optuna's journal: a file, or memory."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.storage import journal_records as records
from wandbsweep.storage.append_log import AppendLog, LockedLog, MemoryLog, Tail
from wandbsweep.storage.base import AttemptClosedError, AttemptState, NewAttempt, Storage, StoredAttempt, StoredParam
from wandbsweep.storage.leases import LEASES, FileLeases
from wandbsweep.storage.optuna_private import DIRECTIONS, Operation


def open_storage(directory: Path | None, url: str, *, wait_s: float) -> JournalStorage:
    """Return the storage in a sweep's ``directory``, whose first writer creates it; None: in memory."""
    if directory is None:
        return JournalStorage(MemoryLog(), leases=None)
    return JournalStorage(AppendLog(directory / records.JOURNAL), FileLeases(directory / LEASES))


def open_reader(directory: Path | None, url: str, study: str, *, wait_s: float) -> JournalReader:
    assert directory is not None
    return JournalReader(directory, study)


class JournalStorage(Storage):
    """Studies and attempts as the result of all records in ``log``.

    A record is appended first, and takes effect when it is read back with all that others appended before it. So every
    process has the same result, and a record about an attempt that was closed in between has no effect anywhere.

    One lock guards the records read so far. It is always taken before the log's lock, so that two threads cannot wait
    for each other, and it is held until the thread's own records are read back.
    """

    addressable = False

    def __init__(self, log: AppendLog, leases: FileLeases | None) -> None:
        self._log = log
        self._leases = leases
        self._worker = str(uuid.uuid4())
        self._lock = threading.RLock()
        self._replay = records.Replay()
        self._tail = Tail(log)
        self._feeds: list[set[int]] = []
        """For each change feed, the keys of the attempts that changed since it was read."""
        self._catch_up()

    def find_study(self, name: str) -> int | None:
        with self._lock:
            self._catch_up()
            return self._replay.find_study(name)

    def create_study(self, name: str, goals: Sequence[Goal]) -> int | None:
        directions = [DIRECTIONS[goal] for goal in goals]
        (study,) = self._append(records.make_record(Operation.CREATE_STUDY, study_name=name, directions=directions))
        return study

    def read_study_attributes(self, study: int, prefix: str = "") -> dict[str, Any]:
        with self._lock:
            self._catch_up()
            stored = self._replay.studies[study].attributes
            return {name: value for name, value in stored.items() if name.startswith(prefix)}

    def set_study_attribute(self, study: int, name: str, value: Any) -> None:
        record = records.make_record(Operation.SET_STUDY_SYSTEM_ATTR, study_id=study, system_attr={name: value})
        if None in self._append(record):
            raise KeyError(f"There is no study {study}.")

    def create_attempt(self, study: int, build: Callable[[int], NewAttempt]) -> int:
        def append(log: LockedLog) -> None:
            # Hold the lock as briefly as possible: only count what others wrote, and parse it afterwards.
            unread = records.count_creations(log.read(self._tail.offset), study)
            new = build(len(self._replay.studies[study].attempts) + unread)
            log.append(self._encode(records.make_creation(study, new)))

        with self._lock:
            self._log.update(append)
            (key,) = self._catch_up()
        assert key is not None
        return key

    def set_attribute(self, attempt: int, name: str, value: Any) -> None:
        self._write(records.make_record(Operation.SET_TRIAL_SYSTEM_ATTR, trial_id=attempt, system_attr={name: value}))

    def set_params(self, attempt: int, attributes: Mapping[str, Any], params: Mapping[str, StoredParam]) -> None:
        own = [
            records.make_record(Operation.SET_TRIAL_SYSTEM_ATTR, trial_id=attempt, system_attr={name: value})
            for name, value in attributes.items()
        ]
        for name, param in params.items():
            stored = {"param_name": name, "param_value_internal": param.value, "distribution": param.distribution}
            own.append(records.make_record(Operation.SET_TRIAL_PARAM, trial_id=attempt, **stored))
        self._write(*own)  # in one append: hundreds of agents wait for the same file

    def report(self, attempt: int, step: int, value: float) -> None:
        operation = Operation.SET_TRIAL_INTERMEDIATE_VALUE
        self._write(records.make_record(operation, trial_id=attempt, step=step, intermediate_value=value))

    def close_attempt(self, attempt: int, state: AttemptState, values: Sequence[float] | None = None) -> None:
        fields = {"trial_id": attempt, "state": state, "values": values, "datetime_complete": records.format_now()}
        self._write(records.make_record(Operation.SET_TRIAL_STATE_VALUES, **fields))

    def read_attempt(self, attempt: int) -> StoredAttempt:
        with self._lock:
            self._catch_up()
            return self._replay.attempts[attempt]

    def read_reports(self, attempt: int) -> dict[int, float]:
        return dict(self.read_attempt(attempt).reports)

    def open_change_feed(self, study: int) -> Callable[..., list[StoredAttempt]]:
        with self._lock:
            self._feeds.append(changed := set(self._replay.studies[study].attempts))
        return partial(self._read_changed, study, changed)

    def open_leases(self, study: int) -> FileLeases | None:
        return self._leases

    def open_optuna(self) -> Any:
        from wandbsweep.storage.optuna_backend import OptunaBackend, OptunaJournalStorage

        return OptunaJournalStorage(OptunaBackend(self._log))

    def _read_changed(self, study: int, changed: set[int], *, created_only: bool = False) -> list[StoredAttempt]:
        """Return the attempts of ``study`` whose keys are in ``changed``, and empty ``changed``."""
        with self._lock:
            self._catch_up()  # this may add to ``changed``
            attempts = self._replay.list_attempts(study, changed)
            changed.clear()
            return attempts

    def _write(self, *to_attempt: records.Record) -> None:
        if None in self._append(*to_attempt):
            raise AttemptClosedError(f"Attempt {to_attempt[0]['trial_id']} is closed, or does not exist.")

    def _append(self, *own: records.Record) -> list[int | None]:
        with self._lock:
            self._log.append(self._encode(*own))
            return self._catch_up()

    def _encode(self, *own: records.Record) -> bytes:
        return b"".join(records.to_line({"op_code": None, "worker_id": self._worker, **record}) for record in own)

    def _catch_up(self) -> list[int | None]:
        """Apply the records that were not read yet, and return what ``Replay.apply`` returned for the own ones."""
        unread = self._tail.read_new()
        results = self._replay.apply_all(unread, self._log.path)
        changed = self._replay.take_changed()
        for unread_changes in self._feeds:
            unread_changes |= changed
        return [key for key, record in zip(results, unread, strict=True) if record.get("worker_id") == self._worker]


class JournalReader:
    """The study ``name`` of the journal in a sweep's ``directory``. Reads each time only what is new."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / records.JOURNAL
        self._tail = Tail(AppendLog(self._path))
        self._leases = FileLeases(directory / LEASES)
        self._name = name
        self._file: os.stat_result | None = None
        """The file as it was last read."""
        self._replay = records.Replay()

    @property
    def attributes(self) -> Mapping[str, Any]:
        study = self._replay.find_study(self._name)
        return {} if study is None else self._replay.studies[study].attributes

    def changes(self) -> Sequence[StoredAttempt]:
        self._file = self._find_file()
        self._replay.apply_all(self._tail.read_new(), self._path)
        changed = self._replay.take_changed()
        study = self._replay.find_study(self._name)
        return [] if study is None else self._replay.list_attempts(study, changed)

    def list_studies(self) -> Sequence[str]:
        return [study.name for study in self._replay.studies.values()]

    def is_replaced(self) -> bool:
        if self._file is None:
            return False
        found = self._find_file()
        return found is None or not os.path.samestat(found, self._file) or found.st_size < self._tail.offset

    def read_last_heartbeat(self) -> float | None:
        return self._leases.read_last_heartbeat()

    def _find_file(self) -> os.stat_result | None:
        try:
            return os.stat(self._path)
        except OSError:
            return None
