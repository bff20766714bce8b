"""Optuna's own ``JournalStorage`` on our log, for its pruners, its dashboard and other programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.storages import JournalStorage as OptunaJournalStorage
from optuna.storages.journal import BaseJournalBackend

from wandbsweep.storage.append_log import AppendLog, parse_lines
from wandbsweep.storage.journal_records import to_line

__all__ = ["OptunaBackend", "OptunaJournalStorage"]


class OptunaBackend(BaseJournalBackend):
    """The same log for Optuna's ``JournalStorage``.

    Optuna's own file backend appends to an incomplete last line, after which the file cannot be read any more, and a
    writer that is killed while it holds the lock stalls the others for 30 s.
    """

    def __init__(self, log: AppendLog) -> None:
        self._log = log
        self._next = (0, 0)
        """The number of the first record that was not read yet, and its offset in bytes."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        number, offset = self._next if self._next[0] <= log_number_from else (0, 0)
        lines = self._log.read(offset).splitlines(keepends=True)
        self._next = (number + len(lines), offset + sum(map(len, lines)))
        return parse_lines(b"".join(lines[log_number_from - number :]), self._log.path, before=log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._log.append(b"".join(map(to_line, logs)))
