"""Creates the directory and the study of a new sweep, completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wandbsweep.controllers.open import open_controller
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import LaunchRecord


def create_study(
    directory: Path, record: LaunchRecord, spec: SweepSpec, setting: str = "hydra.sweeper.storage"
) -> None:
    """Create the study of a new sweep in its storage.

    Args:
        directory: The sweep's directory.
        record: What the sweep is started with.
        spec: What it searches.
        setting: What the user calls the storage.

    Raises:
        SweepDirectoryError: The storage cannot be opened.
    """
    try:
        open_controller(record, directory, spec).close()
    except Exception as error:  # each database driver has exceptions of its own
        storage = record.controller.storage
        if storage is None or isinstance(error, SweepError):
            raise
        reason = str(error).partition("\n")[0]
        raise SweepDirectoryError(f"{setting}: cannot open {storage!r}: {type(error).__name__}: {reason}") from error


@contextmanager
def create_directory(directory: Path, *files: str) -> Iterator[None]:
    """Create ``directory`` and hold its lock; if the ``with`` block fails, remove the sweep, and ``files`` of it.

    A process that is killed in the block leaves a directory without ``sweep.yaml``, which holds no sweep: the next
    command starts over, which ``refuse_orphaned_journal`` allows, since the journal has no trials yet.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    sweepdir.make_directory(directory)
    with sweepdir.lock_directory(directory):
        try:
            yield
        except BaseException:
            sweepdir.remove_sweep(directory)
            for file in files:
                (directory / file).unlink(missing_ok=True)
            if missing:
                (directory / sweepdir.LOCK).unlink()
                with suppress(OSError):  # not empty: another process uses it as well
                    for path in missing:
                        path.rmdir()
            raise
