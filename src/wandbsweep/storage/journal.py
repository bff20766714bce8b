"""Optuna's journal on a file that survives killed writers and full disks.

Optuna's own file backend glues a torn last line to the next append, after which nobody can read the file any more,
and a writer killed inside its lock stalls the others for 30 s. Here the kernel holds the lock (it lets go when the
holder dies), and whoever writes next cuts off what a dead writer left half-written.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial

from wandbsweep.errors import SweepDirectoryError

_TAIL_CHUNK = 4096
_BATCH = 500  # lines that are parsed at once
_FULL = (errno.ENOSPC, errno.EDQUOT)
_RETRY_S = 1.0
_EXCERPT = 60
_CREATED = b'{"op_code":%d,' % JournalOperation.CREATE_TRIAL
"""How the log of a new trial begins."""


log = logging.getLogger(__name__)


class JournalFile(BaseJournalBackend):
    """Append-only JSON lines, shared by the agents of one sweep through a (network) file system.

    ``flock`` rather than ``lockf``: the latter belongs to the process, and so does not keep threads apart.
    The file is opened anew for each operation, which on NFS is what makes other machines' appends visible.
    """

    def __init__(self, path: Path, *, patience_s: float = 300.0) -> None:
        """``patience_s``: how long to wait for room on a full disk."""
        self._path = path
        self._patience_s = patience_s
        self._begin()

    def _begin(self) -> None:
        self._next = (0, 0)  # the number of the first log not read yet, and its byte offset
        self._alone = threading.Lock()
        # Whoever has the file for itself must never wait for another thread of its process that waits for the file.
        self._mutex = threading.Lock()
        self._held: BinaryIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_patience_s": self._patience_s}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        number, offset = self._next if self._next[0] <= log_number_from else (0, 0)
        try:
            with open(self._path, "rb", buffering=0) as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:  # made by the first to write: a reader may have no right to
            return iter(())
        except OSError as error:
            raise SweepDirectoryError(f"Cannot read {self._path}: {error.strerror}.") from None
        complete = data[: data.rfind(b"\n") + 1]  # a line still being written is for the next time
        lines = complete.splitlines()
        self._next = (number + len(lines), offset + len(complete))
        return self._parsed_all(lines[log_number_from - number :], log_number_from)

    def _parsed_all(self, lines: Sequence[bytes], number: int) -> Iterator[dict[str, Any]]:
        for start in range(0, len(lines), _BATCH):
            batch = lines[start : start + _BATCH]
            try:  # in two thirds of the time that the lines take one by one
                logs = json.loads(b"[%b]" % b",".join(batch))
            except ValueError:
                logs = []
            if len(logs) != len(batch) or not all(isinstance(log, dict) for log in logs):
                logs = (self._parsed(line, at) for at, line in enumerate(batch, number + start))
            yield from logs

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            log = json.loads(line)
        except ValueError:
            log = None
        if not isinstance(log, dict):
            raise SweepDirectoryError(
                f"{self._path}, line {number + 1}: the journal is damaged: {_excerpt(line)} is no JSON object. "
                "Put the line right or take it out, and try again."
            )
        return log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        deadline, waited = time.monotonic() + self._patience_s, False
        while True:
            try:
                return self._append(lines)
            except OSError as error:
                if error.errno not in _FULL or time.monotonic() > deadline:
                    raise
                if not waited:
                    log.warning("Cannot write to %s (%s), trying for %.0f s", self._path, error, self._patience_s)
                waited = True
            time.sleep(_RETRY_S)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing until the first append in a ``with`` block is made, so that they need not
        wait for what is read after it."""
        with self._alone:
            try:
                with self._mutex:
                    self._hold()
                yield
            finally:
                with self._mutex:
                    self._let_go()

    def created(self, study: int) -> int:
        """How many trials of ``study`` were created since the logs were last read: counted, which is far faster."""
        of_study = b'"study_id":%d,' % study
        with self._opened() as file:
            file.seek(self._next[1])
            return sum(line.startswith(_CREATED) and of_study in line for line in file.read().splitlines())

    def _append(self, lines: bytes) -> None:
        with self._mutex:
            try:
                _append_to(self._held or self._hold(), lines)
            finally:
                self._let_go()

    def _hold(self) -> BinaryIO:
        self._held = file = self._opened()
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _let_go(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            fcntl.flock(held, fcntl.LOCK_UN)  # to close it is not enough: a process forked meanwhile has it open
            held.close()

    def _opened(self) -> BinaryIO:
        try:
            return open(self._path, "r+b", buffering=0, opener=_open_or_create)
        except OSError as error:
            raise SweepDirectoryError(f"Cannot write to {self._path}: {error.strerror}.") from None


class JournalInMemory(BaseJournalBackend):
    """The same journal without a file: for one process that needs no trace."""

    def __init__(self) -> None:
        self._logs: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._logs.extend(map(json.dumps, logs))


class WatchedJournal(JournalStorage):
    """Optuna's storage on a journal, which also tells which trials were written to.

    Optuna can only list all trials; with ten thousand of them that is too slow to do for each question.
    """

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._watch = _Watch(backend)
        self._file = backend if isinstance(backend, JournalFile) else None
        super().__init__(self._watch)

    def written(self) -> set[int]:
        """The ids of the trials that logs read since the last call wrote to; not of those they created."""
        return set(self._watch.drain())

    # What a database has shorter ways to.

    def create_trial(self, study: int, made: Callable[[int], FrozenTrial]) -> int:
        """The id of a new trial: the one that ``made`` gives for the number of those created before.

        That number may be wrong where another thread of this process reads or writes at the same moment.
        """
        with self._file.alone() if self._file else nullcontext():
            before = self._watch.created[study] + (self._file.created(study) if self._file else 0)
            key: int = self.create_new_trial(study, made(before))
            return key

    def connected(self) -> AbstractContextManager[None]:
        return nullcontext()

    def let_go(self) -> None:
        pass

    def study_attributes(self, study: int, start: str) -> dict[str, Any]:
        stored = self.get_study_system_attrs(study)
        return {key: value for key, value in stored.items() if key.startswith(start)}

    def reports(self, trial: int) -> list[float]:
        return list(self.get_trial(trial).intermediate_values.values())

    def choose(
        self, trial: int, attributes: Mapping[str, Any], params: Mapping[str, tuple[float, BaseDistribution]]
    ) -> None:
        with self._watch.together():
            for key, value in attributes.items():
                self.set_trial_system_attr(trial, key, value)
            for name, (stored, distribution) in params.items():
                self.set_trial_param(trial, name, stored, distribution)
        with self._thread_lock:
            self._sync_with_backend()


class _Held(threading.local):
    """What one thread keeps back."""

    logs: list[dict[str, Any]] | None = None


class _Watch(BaseJournalBackend):
    """Takes the trials' ids from the logs that pass by."""

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._backend = backend
        self._begin()

    def _begin(self) -> None:
        self._held = _Held()
        self._ids: deque[int] = deque()  # filled and emptied by different threads
        self.created: Counter[int] = Counter()
        """How many trials the logs that passed by created, by study."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_backend": self._backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        for log in self._backend.read_logs(log_number_from):
            if "trial_id" in log:
                self._ids.append(log["trial_id"])
            if log["op_code"] == JournalOperation.CREATE_TRIAL:
                self.created[log["study_id"]] += 1
            yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held.logs is None:
            self._backend.append_logs(logs)
        else:
            self._held.logs += logs

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what this thread writes in a ``with`` block at once, at its end: one has to wait for the file once."""
        logs = self._held.logs = []
        try:
            yield
        finally:
            self._held.logs = None
        self._backend.append_logs(logs)

    def drain(self) -> Iterator[int]:
        while self._ids:
            yield self._ids.popleft()


def _excerpt(line: bytes) -> str:
    text = line.decode(errors="replace")
    return repr(text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…")


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _append_to(file: BinaryIO, lines: bytes) -> None:
    _cut_torn_tail(file)
    try:
        _write_all(file, lines)
    except OSError:
        _cut_torn_tail(file)  # whole lines stay: somebody may have read them
        raise


def _cut_torn_tail(file: BinaryIO) -> None:
    """Remove what follows the last newline, and stand at the end."""
    end = file.seek(0, os.SEEK_END)
    start = end
    while start > 0:
        chunk = min(_TAIL_CHUNK, start)
        start = file.seek(start - chunk)
        newline = file.read(chunk).rfind(b"\n")
        if newline >= 0:
            start += newline + 1
            break
    if start < end:
        file.truncate(start)
    file.seek(start)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
