"""Reads the log that W&B's client writes of a run, ``run-ID.wandb``, while it grows.

The client appends each record of a run to this file before anything else, and by
``WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL`` says how often it writes what it has buffered, so that tools may follow a
running run (``wandb leet``, ``wandb sync --live``). The file is a LevelDB log with a header of W&B's own; each record
is a Protocol Buffers message, ``wandb_internal.Record``. Only a few of its fields matter here, and their numbers never
change, so no code of W&B's is needed: the program may run in another environment, with another version of the client.

A file that is not understood is never read as an empty one: ``LogFollower`` says what it did not understand.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandbsweep.trial import as_number

_HEADER = b":W&B\xe1\xbe"  # then one byte: the version of the format
_VERSION = 0
_HEADER_SIZE = 7
_BLOCK = 32768
_CHUNK_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

# Fields of wandb_internal.Record.
_HISTORY, _SUMMARY, _EXIT = 2, 3, 18
_KNOWN = frozenset((1, *range(2, 14), 16, 17, 18, 19, *range(20, 28), 100, 200))
_ITEM, _STEP = 1, 2
_KEY, _NESTED_KEY, _JSON, _INTEGER, _NUMBER, _VALUE_JSON = 1, 2, 8, 5, 6, 16

_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""How the client writes numbers that JSON does not have."""


class UnreadableLogError(Exception):
    """The log is not written as this version of wandbsweep expects."""


@dataclass(frozen=True)
class Row:
    """One row of a run's history: what one ``wandb.log`` wrote."""

    step: int
    metrics: dict[str, float]
    """The numbers in it, by name; those of nested dictionaries have dotted names."""
    logged_at: float | None = None
    """When it was logged (Unix time)."""


@dataclass
class LogFollower:
    """Reads one log, as far as it is written."""

    path: Path
    summary: dict[str, float] = field(default_factory=dict)
    """The last value of each number of the run's summary."""
    rows: int = 0
    fault: str = ""
    """Why the log cannot be read on; empty: it can."""
    unknown: Counter[int] = field(default_factory=Counter)
    """How many records of unknown kinds there were, by the number of their field."""
    _offset: int = 0
    _parts: list[bytes] = field(default_factory=list)

    def read(self) -> list[Row]:
        """Return the rows that were written since the last call."""
        found: list[Row] = []
        if self.fault:
            return found
        try:
            for record in self._read_records():
                found += self._decode(record)
        except FileNotFoundError:
            pass
        except (UnreadableLogError, OSError) as error:
            self.fault = f"{self.path.name}: {error}"
        self.rows += len(found)
        return found

    def _read_records(self) -> Iterator[bytes]:
        """Yield each record that is complete. What is torn may still be being written: the next call reads it."""
        with self.path.open("rb") as file:
            if self._offset == 0:
                if not self._check_header(file.read(_HEADER_SIZE)):
                    return
                self._offset = _HEADER_SIZE
            file.seek(self._offset)
            data = file.read()
        start = 0
        while True:
            left = _BLOCK - (self._offset + start) % _BLOCK
            if left < _CHUNK_HEADER.size:  # too small for a chunk: the rest of the block is empty
                start += left
                continue
            if len(data) - start < _CHUNK_HEADER.size:
                break
            checksum, length, kind = _CHUNK_HEADER.unpack_from(data, start)
            end = start + _CHUNK_HEADER.size + length
            if end > len(data):
                break
            chunk = data[start + _CHUNK_HEADER.size : end]
            if zlib.crc32(chunk, zlib.crc32(bytes([kind]))) != checksum:
                raise UnreadableLogError(f"its checksum is wrong at byte {self._offset + start}, so it is damaged")
            start = end
            yield from self._join(kind, chunk)
        self._offset += min(start, len(data))

    def _check_header(self, header: bytes) -> bool:
        """Return whether the header is there. Raises UnreadableLogError if it is another one."""
        if len(header) < _HEADER_SIZE and (_HEADER + bytes([_VERSION])).startswith(header):
            return False
        if header[:-1] != _HEADER or header[-1] != _VERSION:
            raise UnreadableLogError(
                f"it begins with {header!r}, but logs that can be read begin with {_HEADER + bytes([_VERSION])!r}: "
                "this version of W&B's client writes another format"
            )
        return True

    def _join(self, kind: int, chunk: bytes) -> Iterator[bytes]:
        if kind in (_FULL, _FIRST):
            self._parts = []
        self._parts.append(chunk)
        if kind in (_FULL, _LAST):
            yield b"".join(self._parts)
            self._parts = []
        elif kind not in (_FIRST, _MIDDLE):
            raise UnreadableLogError(f"it holds a chunk of the unknown kind {kind}")

    def _decode(self, record: bytes) -> Iterator[Row]:
        for number, value in iterate_fields(record):
            if number == _HISTORY:
                yield _decode_history(value)
            elif number == _SUMMARY:
                for name, item in _decode_items(value):
                    self.summary.update(_flatten(name, item))
            elif number not in _KNOWN:
                self.unknown[number] += 1


def _decode_history(data: Any) -> Row:
    metrics: dict[str, float] = {}
    step, logged_at = None, None
    for name, value in _decode_items(data):
        if name == "_step":
            step = value
        elif name == "_timestamp":
            logged_at = as_number(value)
        elif not name.startswith("_"):
            metrics.update(_flatten(name, value))
    for number, value in iterate_fields(data):
        if number == _STEP:
            step = next((v for n, v in iterate_fields(value) if n == 1), 0)
    if not isinstance(step, int):
        raise UnreadableLogError("it holds a row without a step")
    return Row(step, metrics, logged_at)


def _decode_items(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the items of a history or summary record, which have the same fields."""
    for number, item in iterate_fields(data):
        if number == _ITEM:
            yield _decode_item(item)


def _decode_item(data: Any) -> tuple[str, Any]:
    key, nested, value = "", [], None
    for number, content in iterate_fields(data):
        if number == _KEY:
            key = _decode_text(content)
        elif number == _NESTED_KEY:
            nested.append(_decode_text(content))
        elif number in (_VALUE_JSON, _JSON):
            with suppress(ValueError):  # a value that is no JSON is no number
                value = json.loads(content)
        elif number == _INTEGER:  # zigzag: small negative numbers are short
            unsigned = content & (1 << 64) - 1
            value = (unsigned >> 1) ^ -(unsigned & 1)
        elif number == _NUMBER:
            value = struct.unpack("<d", content)[0]
    if not key and not nested:
        raise UnreadableLogError("it holds a value without a name")
    return key or ".".join(nested), value


def _decode_text(content: Any) -> str:
    if not isinstance(content, bytes):
        raise UnreadableLogError("a name in it is no text")
    return content.decode("utf-8", "backslashreplace")


def _flatten(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield the numbers in ``value`` by dotted name. Media, such as images, are dictionaries with a ``_type``."""
    if isinstance(value, dict):
        if "_type" not in value:
            for key, item in value.items():
                yield from _flatten(f"{name}.{key}", item)
        return
    number = _SPECIAL.get(value) if isinstance(value, str) else as_number(value)
    if number is not None:
        yield name, number


def iterate_fields(data: Any) -> Iterator[tuple[int, Any]]:
    """Yield the number and the content of each field of a Protocol Buffers message.

    Raises:
        UnreadableLogError: It is no such message.
    """
    if not isinstance(data, bytes):
        raise UnreadableLogError("a record in it is no message")
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        kind = tag & 7
        if kind == 0:
            value, position = _read_varint(data, position)
            yield tag >> 3, value if value < 1 << 63 else value - (1 << 64)
            continue
        if kind == 2:
            size, position = _read_varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise UnreadableLogError(f"a record in it has a field of the unknown kind {kind}")
        if position + size > len(data):
            raise UnreadableLogError("a record in it is cut off")
        yield tag >> 3, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if position >= len(data) or shift > 63:
            raise UnreadableLogError("a record in it is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def list_logs(directory: Path) -> list[Path]:
    """Return the logs of the runs below ``directory``, a ``wandb`` directory; ``latest-run`` is a link to one."""
    found = (path for path in directory.glob("*run-*/run-*.wandb") if not path.parent.is_symlink())
    return sorted(found)


def find_open_logs(marker: bytes) -> list[Path]:
    """Return the logs that processes with ``marker`` in their environment have open, wherever they are.

    A program may name a directory of its own (``wandb.init(dir=...)``).
    """
    found = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):  # another user's, or it has just ended
            if marker not in (process / "environ").read_bytes():
                continue
            for descriptor in (process / "fd").iterdir():
                target = os.readlink(descriptor)
                if target.endswith(".wandb"):
                    found.add(Path(target))
    return sorted(found)
