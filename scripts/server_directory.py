"""Directories of throw-away servers. Each belongs to a process, and its servers end when that process does.

A Ctrl-C or a SIGKILL gives the owner no time to stop its servers, which run in sessions of their own. A guard process
per directory (``python -m scripts.server_directory DIRECTORY``) waits for the owner's end and stops them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.daemons import MARK, Daemons, make_environment, read_start_time
from scripts.run_guard import await_end
from scripts.slurm.cluster import Cluster

_ROOT = Path(__file__).parents[1]
_PREFIX = f"wandbsweep-{os.getuid()}-"
_OWNER = "owner"


@contextmanager
def server_directory() -> Iterator[Path]:
    """A new directory, which other users may enter too, whose path is short enough for sockets.

    When the block or the process ends, the servers in its directories are stopped, and it is removed.
    """
    remove_abandoned()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    directory.chmod(0o755)
    (directory / _OWNER).write_text(f"{os.getpid()} {read_start_time(os.getpid())}")
    guard = subprocess.Popen(
        [sys.executable, "-m", "scripts.server_directory", str(directory)],
        cwd=_ROOT,
        env=make_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the owner
    )
    try:
        yield directory
    finally:
        remove_server_directory(directory)
        guard.kill()
        guard.wait()


def remove_server_directory(directory: Path) -> None:
    """Stop the servers in the directories of ``directory``, and remove it."""
    for place in [path.parent for path in directory.glob(f"*/{MARK}")]:
        (Cluster(place) if (place / "etc" / "slurm.conf").exists() else Daemons(place)).remove()
    shutil.rmtree(directory, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove the directories of owners that are gone: their guards were killed too."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, ValueError):  # its guard was faster, or it is being made
            pid, born = _read_owner(directory)
            if read_start_time(pid) != born:
                remove_server_directory(directory)


def guard(directory: Path) -> None:
    """Wait until the owner of ``directory`` is gone, then remove it."""
    with suppress(FileNotFoundError):  # the owner has removed it
        await_end(*_read_owner(directory))
    remove_server_directory(directory)


def _read_owner(directory: Path) -> tuple[int, int]:
    """The pid of the owner, and when that process started."""
    pid, born = map(int, (directory / _OWNER).read_text().split())
    return pid, born


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
