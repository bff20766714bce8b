"""An append-only file of JSON lines that the processes of one sweep share through a (network) file system.

Writers may be killed and disks may be full. The kernel releases the lock of a process that dies. Readers ignore an
incomplete last line, and the next writer removes it before it appends.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.retry import Backoff, retry

_TAIL_CHUNK = 4096
_PARSED_TOGETHER = 500  # lines
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_RETRY_S = 1.0
_EXCERPT_LENGTH = 60

T = TypeVar("T")

log = logging.getLogger(__name__)


class AppendLog:
    """The file at ``path``. The first writer creates it; it reads as empty before.

    The file is opened for each operation, because on NFS that is what makes other machines' appends visible.
    ``flock`` is used rather than ``lockf``: a ``lockf`` lock belongs to the process, so it does not exclude threads of
    the same process, and closing any descriptor of the file releases it.
    """

    def __init__(self, path: Path, *, patience_s: float = 300.0) -> None:
        """``patience_s``: how long to wait for space on a full disk."""
        self.path = path
        self._patience_s = patience_s

    def read(self, offset: int = 0) -> bytes:
        """Return the complete lines from the byte ``offset`` on. A line that is still being written is left out."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                return _read_complete(file, offset)
        except FileNotFoundError:  # a reader may lack the right to create it
            return b""
        except OSError as error:
            raise SweepDirectoryError(f"Cannot read {self.path}: {error.strerror}.") from None

    def append(self, lines: bytes) -> None:
        """Append complete lines in one piece; wait for space if the disk is full."""
        self.update(lambda file: file.append(lines))

    def update(self, action: Callable[[LockedLog], T]) -> T:
        """Call ``action`` while other writers wait; call it again if the disk was full."""

        def update() -> T:
            with self.locked() as file:
                return action(file)

        def is_full_disk(error: Exception) -> bool:
            return isinstance(error, OSError) and error.errno in _FULL_DISK

        def warn(error: Exception) -> None:
            log.warning("Cannot write to %s (%s), trying for %.0f s", self.path, error, self._patience_s)

        return retry(update, Backoff(self._patience_s, _RETRY_S, _RETRY_S), is_transient=is_full_disk, warn=warn)

    @contextmanager
    def locked(self) -> Iterator[LockedLog]:
        """Keep other writers out for a ``with`` block, which can read what they wrote before it appends."""
        with self._open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield LockedLog(file)
            finally:
                # Closing the file is not enough: a process that was forked in the meantime shares the lock.
                fcntl.flock(file, fcntl.LOCK_UN)

    def _open(self) -> BinaryIO:
        try:
            return open(self.path, "r+b", buffering=0, opener=_open_or_create)
        except OSError as error:
            raise SweepDirectoryError(f"Cannot write to {self.path}: {error.strerror}.") from None


class MemoryLog(AppendLog):
    """The log without a file, for one process, which keeps nothing."""

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


class LockedLog:
    """The file while this process holds its lock."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, offset: int = 0) -> bytes:
        """Return the complete lines from the byte ``offset`` on."""
        return _read_complete(self._file, offset)

    def append(self, lines: bytes) -> None:
        """Append complete lines in one piece.

        Raises OSError if the disk has no space for all of them. The lines that were written completely stay. When the
        append is repeated they are in the file twice, so lines that are appended together must allow for that.
        """
        _cut_torn_tail(self._file)
        try:
            _write_all(self._file, lines)
        except OSError:
            _cut_torn_tail(self._file)  # complete lines remain: another process may have read them
            raise


class Tail:
    """The lines of a log of JSON objects that were not read yet."""

    def __init__(self, log: AppendLog) -> None:
        self.offset = 0
        """Of the first of these lines, in bytes."""
        self._log = log
        self._lines_read = 0

    def read_new(self) -> list[dict[str, Any]]:
        """Return what was appended since the last call.

        Raises SweepDirectoryError if a line is not a JSON object. Then no line counts as read.
        """
        lines = self._log.read(self.offset)
        parsed = list(parse_lines(lines, self._log.path, before=self._lines_read))
        self.offset += len(lines)
        self._lines_read += len(parsed)
        return parsed


def parse_lines(lines: bytes, path: Path, *, before: int = 0) -> Iterator[dict[str, Any]]:
    """Parse complete lines of JSON objects.

    Args:
        lines: What ``AppendLog.read`` returned.
        path: The file, for error messages.
        before: How many lines of the file precede these.

    Raises:
        SweepDirectoryError: If a line is not a JSON object. The message names the line.
    """
    split = lines.splitlines()
    for start in range(0, len(split), _PARSED_TOGETHER):
        batch = split[start : start + _PARSED_TOGETHER]
        try:  # one array parses a third faster than its lines do one by one
            parsed = json.loads(b"[%b]" % b",".join(batch))
        except ValueError:
            parsed = []
        if len(parsed) != len(batch) or not all(isinstance(line, dict) for line in parsed):
            parsed = (_parse(line, path, number) for number, line in enumerate(batch, before + start + 1))
        yield from parsed


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        text = line.decode(errors="replace")
        excerpt = repr(text if len(text) <= _EXCERPT_LENGTH else f"{text[:_EXCERPT_LENGTH]}…")
        raise SweepDirectoryError(
            f"{path}, line {number}: the journal is damaged: {excerpt} is not a JSON object. "
            "Correct or remove the line, and try again."
        )
    return parsed


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _read_complete(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    data = file.read()
    return data[: data.rfind(b"\n") + 1]


def _cut_torn_tail(file: BinaryIO) -> None:
    """Remove what follows the last newline, and seek to the end."""
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
