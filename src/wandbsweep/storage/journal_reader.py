"""What a store holds of a sweep, for who looks on: read without Optuna's objects, and each time no more than is new.

Ten thousand trials take Optuna seconds to build, mostly distributions and copies that nobody asks for here. A reader
makes of each attempt what the ledger reads, from the same records (Optuna's ``JournalStorage`` defines what they mean).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from wandbsweep.errors import SweepDirectoryError

JOURNAL = "journal.log"
"""Where a sweep's directory has it."""

# Optuna's JournalOperation.
_CREATE_STUDY, _DELETE_STUDY, _STUDY_ATTRIBUTE, _CREATE, _STATE, _REPORT, _ATTRIBUTE = 0, 1, 3, 4, 6, 7, 9


class Stage(IntEnum):
    """Optuna's TrialState."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    def is_finished(self) -> bool:
        return self in _FINISHED


_FINISHED = frozenset({Stage.COMPLETE, Stage.PRUNED, Stage.FAIL})


@dataclass(slots=True)
class Attempt:
    """An Optuna trial: of its attributes those that the ledger reads."""

    _trial_id: int
    state: Stage
    datetime_start: datetime | None
    datetime_complete: datetime | None
    system_attrs: dict[str, Any]
    intermediate_values: dict[int, float]

    def own_copy(self) -> Attempt:
        """One that can be changed."""
        other = copy(self)
        other.system_attrs = dict(self.system_attrs)
        other.intermediate_values = dict(self.intermediate_values)
        return other


class Reader(Protocol):
    """One study of a store."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The study's own; empty where there is none yet."""

    def changes(self) -> Sequence[Attempt]:
        """The attempts that are new, or were written to, since the last call: in the order of their creation.

        None of them changes any more: what is written to later is another object.
        """

    def others(self) -> Sequence[str]:
        """The names of all studies in the store."""

    def is_another(self) -> bool:
        """Whether another store stands in the place of the one that was read: all is to be read anew."""


class JournalReader:
    """The study ``name`` of the journal at ``path``."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._offset = 0
        self._file: tuple[int, int] | None = None
        self._replay = _Replay()

    @property
    def attributes(self) -> Mapping[str, Any]:
        study = self._replay.named(self._name)
        return study.attributes if study else {}

    def changes(self) -> Sequence[Attempt]:
        data = self._unread()
        try:
            self._replay.apply(_logs(data))
        except (ValueError, LookupError, TypeError, AttributeError):
            self._tell_damage()
        touched = self._replay.taken()
        study = self._replay.named(self._name)
        return [self._replay.attempts[key] for key in sorted(touched) if study and key in study.members]

    def others(self) -> Sequence[str]:
        return self._replay.names

    def is_another(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return self._file is not None
        return self._file is not None and ((found.st_dev, found.st_ino) != self._file or found.st_size < self._offset)

    def _unread(self) -> bytes:
        try:
            with open(self._path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                self._file = (status.st_dev, status.st_ino)
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:  # made by the first to write
            return b""
        except OSError as error:
            raise SweepDirectoryError(f"Cannot read {self._path}: {error.strerror}.") from None
        end = data.rfind(b"\n") + 1  # a line still being written is for the next time
        self._offset += end
        return data[:end]

    def _tell_damage(self) -> None:
        """Raise SweepDirectoryError, which names the line."""
        from wandbsweep.storage.journal import JournalFile

        for _ in JournalFile(self._path).read_logs(0):
            pass
        raise SweepDirectoryError(f"{self._path}: the journal is damaged: it is not one of Optuna's.")


def _logs(data: bytes) -> Iterator[dict[str, Any]]:
    # One array is parsed in two thirds of the time that its lines take one by one.
    lines = data.rstrip(b"\n").replace(b"\n", b",")
    found: list[dict[str, Any]] = json.loads(b"[%b]" % lines)
    return iter(found)


@dataclass
class _Study:
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
    members: set[int] = field(default_factory=set)


class _Replay:
    """What a journal's records come to: ``JournalStorageReplayResult``, of what is read here."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        """By the store's id."""
        self._studies: dict[int, _Study] = {}
        self._made = 0
        self._touched: set[int] = set()

    def named(self, name: str) -> _Study | None:
        return next((study for study in self._studies.values() if study.name == name), None)

    @property
    def names(self) -> list[str]:
        return [study.name for study in self._studies.values()]

    def taken(self) -> set[int]:
        """The attempts written to since this was last asked."""
        touched, self._touched = self._touched, set()
        return touched

    def apply(self, logs: Iterator[dict[str, Any]]) -> None:
        for log in logs:
            operation = log["op_code"]
            if operation == _REPORT:
                if attempt := self._open(log["trial_id"]):
                    attempt.intermediate_values[log["step"]] = log["intermediate_value"]
            elif operation == _ATTRIBUTE:
                if attempt := self._open(log["trial_id"]):
                    attempt.system_attrs.update(log["system_attr"])
            elif operation == _STATE:
                self._set_state(log)
            elif operation == _CREATE:
                self._create(log)
            elif operation == _CREATE_STUDY:
                if self.named(log["study_name"]) is None:
                    self._studies[self._made] = _Study(log["study_name"])
                    self._made += 1
            elif operation == _DELETE_STUDY:
                self._studies.pop(log["study_id"], None)
            elif operation == _STUDY_ATTRIBUTE and log["study_id"] in self._studies:
                self._studies[log["study_id"]].attributes.update(log["system_attr"])

    def _create(self, log: dict[str, Any]) -> None:
        study = self._studies.get(log["study_id"])
        if study is None:
            return
        key = len(self.attempts)
        reports = {int(step): value for step, value in log.get("intermediate_values", {}).items()}
        begun, done = _moment(log.get("datetime_start")), _moment(log.get("datetime_complete"))
        state = Stage(log.get("state", Stage.RUNNING))
        self.attempts.append(Attempt(key, state, begun, done, log.get("system_attrs", {}), reports))
        self._touched.add(key)
        study.members.add(key)

    def _set_state(self, log: dict[str, Any]) -> None:
        state = Stage(log["state"])
        if attempt := self._open(log["trial_id"]):
            if state is Stage.RUNNING and attempt.state is not state:
                attempt.datetime_start = _moment(log["datetime_start"])
            if state.is_finished():
                attempt.datetime_complete = _moment(log["datetime_complete"])
            attempt.state = state

    def _open(self, key: int) -> Attempt | None:
        """The attempt ``key``, to be written to; None: it is closed, or there is none."""
        if not 0 <= key < len(self.attempts):
            return None
        attempt = self.attempts[key]
        if attempt.state in _FINISHED:
            return None
        if key not in self._touched:
            self._touched.add(key)
            attempt = self.attempts[key] = attempt.own_copy()
        return attempt


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
