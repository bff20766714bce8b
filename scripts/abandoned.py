"""Directories of servers that belong to a process, and what becomes of them when it was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from scripts.daemons import MARK, Daemons, started_at
from scripts.slurm.cluster import Cluster

_PREFIX = f"wandbsweep-{os.getuid()}-"
_OWNER = "owner"


def own_directory() -> Path:
    """A new directory of this process, that everybody may enter, with a path short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    directory.chmod(0o755)
    (directory / _OWNER).write_text(f"{os.getpid()} {started_at(os.getpid())}")
    return directory


def stop_abandoned() -> None:
    """Stop the servers, and remove the directories, of processes that are gone without having done so."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, ValueError):  # another one was faster, or it is being made
            pid, born = map(int, (directory / _OWNER).read_text().split())
            if started_at(pid) != born:
                remove(directory)


def remove(directory: Path) -> None:
    """Stop the servers in the directories of ``directory``, and remove it."""
    for place in [path.parent for path in directory.glob(f"*/{MARK}")]:
        (Cluster(place) if (place / "etc" / "slurm.conf").exists() else Daemons(place)).remove()
    shutil.rmtree(directory, ignore_errors=True)
