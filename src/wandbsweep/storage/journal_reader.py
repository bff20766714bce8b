"""Reads a study in a journal, each time only what was appended since the last."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wandbsweep.storage.append_log import AppendLog, Tail
from wandbsweep.storage.base import StoredAttempt
from wandbsweep.storage.journal_records import JOURNAL, Replay
from wandbsweep.storage.leases import LEASES, FileLeases


class JournalReader:
    """The study ``name`` of the journal in a sweep's ``directory``."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / JOURNAL
        self._tail = Tail(AppendLog(self._path))
        self._leases = FileLeases(directory / LEASES)
        self._name = name
        self._file: os.stat_result | None = None
        """The file as it was last read."""
        self._replay = Replay()

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
