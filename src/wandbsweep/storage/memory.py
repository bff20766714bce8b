"""A storage in memory, for one process, which keeps nothing."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wandbsweep.storage.append_log import AppendLog, LockedLog
from wandbsweep.storage.journal import JournalStorage


def open_storage(directory: Path | None, url: str, *, wait_s: float) -> JournalStorage:
    return JournalStorage(MemoryLog(), leases=None)


class MemoryLog(AppendLog):
    """The log without a file."""

    def __init__(self) -> None:
        super().__init__(Path("memory"))
        self._file = io.BytesIO()
        self._lock = threading.RLock()

    def read(self, offset: int = 0) -> bytes:
        with self.locked() as file:
            return file.read(offset)

    @contextmanager
    def locked(self) -> Iterator[LockedLog]:
        with self._lock:
            yield LockedLog(self._file)
