"""The index of the sweeps that this user has started, by which they are found wherever ``hydra.sweep.dir`` put them.

It is one file of the user's, since a sweep's directory may lie on any disk. Each start appends a line with the sweep's
id and two paths. A line is only a hint: the directory says whether it still holds the sweep, and which one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wandbsweep.files import write_atomically

_FILE = "sweeps.jsonl"
_LOCK = "sweeps.lock"
MAX_BYTES = 4 * 2**20
"""Of a larger index, about 15,000 sweeps, the older half is dropped."""


@dataclass(frozen=True)
class KnownSweep:
    """A sweep that was started or joined."""

    sweep_id: str
    directory: str
    project: str
    """The working directory of the command that started it."""

    @property
    def is_here(self) -> bool:
        """Whether it was started in the present working directory."""
        return self.project == os.getcwd()


def find_index() -> Path | None:
    """Return the directory of the index, ``wandbsweep`` in XDG's directory of states; None: this user has no home."""
    given = os.environ.get("XDG_STATE_HOME", "")
    state = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")  # XDG: relative ones are ignored
    return Path(state, "wandbsweep") if os.path.isabs(state) else None


def remember_sweep(sweep_id: str, directory: Path, project: str) -> None:
    """Add a sweep to the index. Where that cannot be written, the sweep is found by its directory alone.

    Args:
        sweep_id: The sweep's id.
        directory: The sweep's directory.
        project: The directory in which it was started.
    """
    place = find_index()
    if place is None:
        return
    line = json.dumps(asdict(KnownSweep(sweep_id, str(directory.absolute()), project))).encode() + b"\n"
    with suppress(OSError):  # no home, a full disk, a home without write permission
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(place):
            _append(place / _FILE, line)


def read_index() -> list[KnownSweep]:
    """Return the sweeps of the index, the last started or joined first; each directory once."""
    place = find_index()
    if place is None:
        return []
    found: dict[str, KnownSweep] = {}
    with suppress(OSError):
        for line in reversed((place / _FILE).read_bytes().splitlines()):
            with suppress(ValueError, TypeError):  # a damaged line, or one of a later version
                known = KnownSweep(**json.loads(line))
                if all(isinstance(value, str) and "\0" not in value for value in vars(known).values()):
                    found.setdefault(known.directory, known)
    return list(found.values())


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Hold the index's lock. The index itself cannot be locked, since ``_drop_older_half`` replaces it."""
    with open(place / _LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _append(file: Path, line: bytes) -> None:
    with open(file, "a+b") as index:
        size = index.seek(0, os.SEEK_END)
        if size > 0:
            index.seek(-1, os.SEEK_END)
            line = line if index.read(1) == b"\n" else b"\n" + line  # a process was killed while it wrote
        index.write(line)
    if size > MAX_BYTES:
        _drop_older_half(file)


def _drop_older_half(file: Path) -> None:
    """Keep the newest sweeps, as many as half of the allowed size has room for."""
    kept: list[bytes] = []
    size = 0
    for known in read_index():
        line = json.dumps(asdict(known)).encode()
        size += len(line) + 1
        if size > MAX_BYTES // 2:
            break
        kept.append(line)
    write_atomically(file, b"".join(line + b"\n" for line in reversed(kept)))
