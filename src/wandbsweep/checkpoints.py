"""Finds the checkpoint from which an interrupted training can resume, whichever program wrote it."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

_SUFFIXES = (("*.ckpt",), ("*.pt", "*.pth"))  # the first kind that is there: the others may be data, or weights alone


def find_checkpoint(directory: Path) -> Path | None:
    """Return the newest checkpoint in or below ``directory`` that was written to its end; None: there is none."""
    for patterns in _SUFFIXES:
        found = []
        for path in (path for pattern in patterns for path in directory.rglob(pattern)):
            with suppress(OSError):  # it is being replaced, or cannot be read
                if _is_whole(path):  # of those that are equally old, Lightning's last.ckpt
                    found.append((path.stat().st_mtime_ns, path.name.startswith("last"), path))
        if found:
            return max(found)[-1]
    return None


def _is_whole(path: Path) -> bool:
    """Whether a file was written to its end, as far as its format tells: torch writes zip archives."""
    if path.is_dir():  # a checkpoint in several files
        return any(path.iterdir())
    with path.open("rb") as file:
        start = file.read(2)
    return zipfile.is_zipfile(path) if start == b"PK" else bool(start)
