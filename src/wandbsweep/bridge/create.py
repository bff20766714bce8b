"""Writes a new sweep to its directory, completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wandbsweep.bridge.snapshot import PLAIN_RECURSIVE, Snapshot, copy_config, set_key
from wandbsweep.controllers.create import create_directory, create_study
from wandbsweep.controllers.open import open_controller
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
    with create_directory(directory, _MULTIRUN_FILE):
        if not is_free(directory, record.controller.plain_grid):
            return False
        sweepdir.remove_sweep(directory)
        snapshot.copy_into(directory / SNAPSHOT)
        record.save(directory)
        write_provenance(directory, Path(record.application.cwd))
        saved = copy_config(config)
        set_key(saved, *PLAIN_RECURSIVE)
        OmegaConf.save(saved, directory / _MULTIRUN_FILE)
        create_study(directory, record, spec)
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
