"""Builds the controller of a sweep: a new one, or the one that a launch record describes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.settings import LEASE_S, MAX_ATTEMPTS
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.index import remember_sweep
from wandbsweep.sweep.launch_record import STUDY, ControllerOptions, LaunchRecord

if TYPE_CHECKING:
    from wandbsweep.controllers.base import SweepController
    from wandbsweep.controllers.embedded.controller import EmbeddedController

# The controllers are imported when one is built: the embedded one needs Optuna, which a hosted sweep does without.


def create_sweep(
    spec: SweepSpec | Mapping[str, Any] | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    storage: str | None = None,
    seed: int | None = None,
    lease_s: float = LEASE_S,
    max_attempts: int = MAX_ATTEMPTS,
) -> EmbeddedController:
    """Create a sweep and return its embedded controller; an equal sweep in ``path`` is resumed.

    Args:
        spec: The sweep configuration: what ``load_sweep`` returns, or what it takes.
        path: Directory that keeps ``sweep.yaml`` and ``journal.log``, created if it is missing. None keeps everything
            in memory.
        storage: Optuna storage URL, used instead of the journal.
        seed: Seed of the search. None draws a random one, or takes the stored one.
        lease_s: Seconds of silence after which a running trial counts as lost and is queued again. The controller
            renews the leases of its trials until ``close()``. There are no leases in memory.
        max_attempts: Number of lost attempts after which a trial stays crashed.

    Returns:
        The controller, which is safe to use from several threads.

    Raises:
        SweepDirectoryError: ``path`` or ``storage`` holds another sweep, or ``path`` cannot be written.
        SweepConfigError: The configuration breaks its rules, or the method needs W&B's controller.
    """
    if not isinstance(spec, SweepSpec):
        spec = load_sweep(spec)
    options = ControllerOptions(seed=seed, storage=storage, lease_s=lease_s, max_attempts=max_attempts)
    if path is None:
        return _open_matching(None, spec, options)
    directory = Path(path).absolute()
    controller = open_or_create(directory, spec, options)
    remember_sweep(directory.name, directory, os.getcwd())
    return controller


def open_or_create(directory: Path, spec: SweepSpec, options: ControllerOptions) -> EmbeddedController:
    """Create a sweep in ``directory``, or open the equal one in it, and return its controller.

    Args:
        directory: The sweep's directory.
        spec: The sweep configuration.
        options: How the controller is opened.

    Raises:
        SweepDirectoryError: The directory or the storage holds another sweep, or the directory cannot be written.
    """
    sweepdir.make_directory(directory)
    with sweepdir.lock_directory(directory):
        if sweepdir.holds_sweep(directory):
            stored = sweepdir.read_spec(directory)
            sweepdir.refuse_differences(directory, sweepdir.find_differences(stored.identity, spec.identity))
        controller = _open_matching(directory, spec, options)
        if options.storage is not None:
            sweepdir.save_storage_url(directory, options.storage)
        sweepdir.write_spec(directory, spec)
    return controller


def open_controller(
    record: LaunchRecord | None, directory: Path, spec: SweepSpec, *, wait_s: float | None = None
) -> SweepController:
    """Open the controller of an existing sweep.

    Args:
        record: What the sweep was started with. None for a sweep made by ``create_sweep``.
        directory: The sweep's directory.
        spec: Its sweep configuration.
        wait_s: Seconds to wait for a database that does not answer. None waits a few.

    Returns:
        The controller that the record names: embedded or hosted.

    Raises:
        SweepDirectoryError: The storage needs a password that is not stored.
    """
    if record and record.hosted:
        from wandbsweep.controllers.hosted.controller import HostedController
        from wandbsweep.wandb_runs.auth import read_login

        return HostedController(
            spec,
            record.sweep_id,
            login=read_login(entity=record.hosted.entity, project=record.hosted.project),
            directory=directory,
            options=record.controller,
            elsewhere=record.hosted.begun is not None,
        )
    url, study = sweepdir.locate_storage(directory, record)
    options = record.controller if record else ControllerOptions(storage=url)
    return open_embedded(directory, spec, options, study_name=study, wait_s=wait_s)


def open_embedded(
    directory: Path | None,
    spec: SweepSpec,
    options: ControllerOptions,
    *,
    study_name: str | None,
    wait_s: float | None = None,
) -> EmbeddedController:
    """Open an embedded controller on a directory's journal, on a database, or in memory.

    Args:
        directory: The sweep's directory. None keeps the trials in memory, unless the options name a storage.
        spec: The sweep configuration.
        options: What the sweep was started with.
        study_name: Name of the study in a database. A journal has one study, ``STUDY``, so that its directory may be
            renamed.
        wait_s: Seconds to wait for a database that does not answer. None waits a few.

    Returns:
        The controller.
    """
    from wandbsweep.controllers.embedded.controller import EmbeddedController
    from wandbsweep.storage.open import OPENING_S, open_storage

    storage = open_storage(directory, options.storage, wait_s=OPENING_S if wait_s is None else wait_s)
    name = STUDY if options.storage is None or study_name is None else study_name
    return EmbeddedController(spec, storage, study_name=name, options=options, directory=directory)


def _open_matching(directory: Path | None, spec: SweepSpec, options: ControllerOptions) -> EmbeddedController:
    """Open a controller. Raises SweepDirectoryError if its storage holds another sweep than ``spec``."""
    controller = open_embedded(directory, spec, options, study_name=directory.name if directory else None)
    if found := sweepdir.find_differences(controller.identity, spec.identity):
        lines = "\n".join(f"  - {difference}" for difference in found)
        raise SweepDirectoryError(
            f"The storage holds another sweep:\n{lines}\nGive the new sweep a storage, or a path, of its own."
        )
    return controller
