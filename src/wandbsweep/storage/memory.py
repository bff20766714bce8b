"""A storage in memory, for one process that needs no trace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wandbsweep.storage.journal import JournalStorage

T = TypeVar("T")


def open_storage(directory: Path | None, url: str, *, wait_s: float) -> JournalStorage:
    return JournalStorage(MemoryLog(), leases=None)


class MemoryLog:
    """An ``AppendLog`` without a file."""

    path = Path("memory")

    def __init__(self) -> None:
        self._lines = bytearray()
        self._lock = threading.RLock()

    def read(self, offset: int = 0) -> bytes:
        return bytes(self._lines[offset:])

    def append(self, lines: bytes) -> None:
        with self._lock:
            self._lines += lines

    def update(self, action: Callable[[MemoryLog], T]) -> T:
        with self._lock:
            return action(self)
