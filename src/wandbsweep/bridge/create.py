"""Writes a new sweep to its directory, completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wandbsweep.bridge.snapshot import PLAIN_RECURSIVE, Snapshot, copy_config, set_key
from wandbsweep.controllers.open import open_controller
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord
from wandbsweep.sweep.provenance import write_provenance
from wandbsweep.trial import ENDED

_MULTIRUN_FILE = "multirun.yaml"


def write_sweep(directory: Path, config: DictConfig, snapshot: Snapshot, record: LaunchRecord, spec: SweepSpec) -> bool:
    """Write all that a new sweep needs. ``sweep.yaml``, which makes the directory a sweep, comes last.

    Args:
        directory: The sweep's directory.
        config: The multirun's configuration.
        snapshot: What to copy of the configuration files.
        record: What the sweep is started with.
        spec: What it searches.

    Returns:
        Whether it was written. False: another process has created a sweep there in the meantime.

    Raises:
        SweepDirectoryError: The directory cannot be written, or the storage cannot be opened.
    """
    with _create_directory(directory):
        if not is_free(directory, record.controller.plain_grid):
            return False
        sweepdir.remove_sweep(directory)
        snapshot.copy_into(directory / SNAPSHOT)
        record.save(directory)
        write_provenance(directory, Path(record.application.cwd))
        saved = copy_config(config)
        set_key(saved, *PLAIN_RECURSIVE)
        OmegaConf.save(saved, directory / _MULTIRUN_FILE)
        _create_study(directory, record, spec)
        sweepdir.write_spec(directory, spec)
    return True


def is_free(directory: Path, plain_grid: Mapping[str, Sequence[Any]] | None) -> bool:
    """Return whether a new sweep may be written to ``directory``.

    A plain grid may replace another one that is over: Hydra's users run the same lists again in the same place.
    """
    return not sweepdir.holds_sweep(directory) or (plain_grid is not None and _is_finished_grid(directory))


def _is_finished_grid(directory: Path) -> bool:
    """Return whether ``directory`` holds a plain grid of which every trial has ended."""
    record = LaunchRecord.load_if_exists(directory)
    if record is None or record.controller.plain_grid is None:
        return False
    controller = open_controller(record, directory, sweepdir.read_spec(directory))
    trials = controller.trials()
    return len(trials) == controller.cap and all(trial.state in ENDED for trial in trials)


def _create_study(directory: Path, record: LaunchRecord, spec: SweepSpec) -> None:
    try:
        open_controller(record, directory, spec).close()
    except Exception as error:  # each database driver has exceptions of its own
        storage = record.controller.storage
        if storage is None or isinstance(error, SweepError):
            raise
        reason = str(error).partition("\n")[0]
        raise SweepDirectoryError(
            f"hydra.sweeper.storage: cannot open {storage!r}: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _create_directory(directory: Path) -> Iterator[None]:
    """Create ``directory`` and hold its lock; if the ``with`` block fails, remove everything new.

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
            (directory / _MULTIRUN_FILE).unlink(missing_ok=True)
            if missing:
                (directory / sweepdir.LOCK).unlink()
                with suppress(OSError):  # not empty: another process uses it as well
                    for path in missing:
                        path.rmdir()
            raise
