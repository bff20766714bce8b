"""Turns a multirun command into a sweep that is ready to be launched. Everything is checked before it is written.

An existing sweep is joined or resumed. It runs what it was started with, whatever the command says now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.composition import check_composition
from wandbsweep.bridge.create import is_free, write_sweep
from wandbsweep.bridge.foreign_sweepers import describe_foreign_settings
from wandbsweep.bridge.multirun import Multirun, find_start_command
from wandbsweep.bridge.resuming import check_resume_key
from wandbsweep.bridge.search_space import make_sample_point, read_space, refuse_endless
from wandbsweep.bridge.snapshot import find_sources, open_snapshot
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.search.make import make_search
from wandbsweep.settings import Settings
from wandbsweep.spec.load import change_run_cap
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import UNKNOWN_ID, HostedPlace, LaunchRecord
from wandbsweep.sweep.override_strings import SWEEP_KEY, OverrideSlot, format_overrides, is_sweep_key
from wandbsweep.sweep.prepared import PreparedSweep

log = logging.getLogger(__name__)

_FIXED_SETTINGS = ("seed", "storage", "lease_s", "max_attempts")
"""Settings that only the command that starts a sweep can set."""


@dataclass(frozen=True)
class CheckedSweep:
    """What a multirun command would start; nothing of it is written."""

    directory: Path
    spec: SweepSpec
    plain_grid: Mapping[str, Sequence[Any]] | None
    exists: bool
    """Whether the directory holds this sweep already, so that the command would join it."""


def prepare_sweep(multirun: Multirun) -> PreparedSweep:
    """Create the sweep that a multirun command asks for, or join or resume the one that exists.

    Args:
        multirun: The command.

    Returns:
        The sweep.

    Raises:
        SweepError: The command is not valid; nothing is written then. A plain comma list that does not compose raises
            Hydra's own errors instead.
    """
    settings = multirun.settings
    if settings.sweep_id is None:
        return _create_or_resume(multirun)
    join = _join_hosted_sweep if settings.controller == "wandb" else _join_sweep
    return join(multirun, settings.sweep_id)


def _create_or_resume(multirun: Multirun) -> PreparedSweep:
    settings = multirun.settings
    sweep_id = sweepdir.make_sweep_id()
    directory = multirun.find_directory(sweep_id)

    spec, plain_grid = _read_space(multirun)
    if not is_free(directory, plain_grid):
        return _resume_sweep(multirun, directory, spec)
    _check_new_sweep(multirun, directory, spec, plain_grid)
    hosted = None
    if settings.controller == "wandb":  # last, since nothing removes a sweep from W&B again
        from wandbsweep.controllers.hosted.sweeps import start_hosted_sweep

        made = start_hosted_sweep(spec)
        sweep_id, hosted = made.sweep_id, HostedPlace(made.entity, made.project)
        directory = multirun.find_directory(sweep_id)
    started = _start_sweep(multirun, sweep_id, directory, spec, plain_grid=plain_grid, hosted=hosted)
    return started or _resume_sweep(multirun, directory, spec)


def check_sweep(multirun: Multirun) -> CheckedSweep:
    """Check a multirun command as ``prepare_sweep`` does before it writes a new sweep.

    Args:
        multirun: The command.

    Returns:
        What the command would start.

    Raises:
        SweepError: The command is not valid, or names an existing sweep.
    """
    if multirun.settings.sweep_id is not None:
        raise SweepError(
            f"hydra.sweeper.dry_run: a sweep that exists, as {multirun.settings.sweep_id}, runs what it was started "
            "with, so there is nothing to preview; wandbsweep status shows it"
        )
    directory = multirun.find_directory(UNKNOWN_ID)
    spec, plain_grid = _read_space(multirun)
    exists = not is_free(directory, plain_grid)
    if exists:
        stored = sweepdir.read_spec(directory)
        sweepdir.refuse_differences(directory, sweepdir.find_differences(stored.identity, spec.identity))
    else:
        _check_new_sweep(multirun, directory, spec, plain_grid)
    return CheckedSweep(directory, spec, plain_grid, exists)


def _check_new_sweep(
    multirun: Multirun, directory: Path, spec: SweepSpec, plain_grid: Mapping[str, Sequence[Any]] | None
) -> None:
    """Raise SweepError if ``directory`` cannot be used, or the trials do not compose."""
    settings = multirun.settings
    if settings.controller == "embedded":
        sweepdir.refuse_orphaned_journal(directory)
    point = make_search(spec, seed=settings.seed or 0, plain_grid=plain_grid).draw(0) or {}
    if plain_grid is None:
        check_composition(multirun, spec)
    if plain_grid is not None or settings.resume_key:  # of a plain grid Hydra says itself what is wrong
        overrides = format_overrides(multirun.list_slots(spec), point or make_sample_point(spec))
        check_resume_key(multirun.loader.load_sweep_config(multirun.config, overrides), settings.resume_key)


def _read_space(multirun: Multirun) -> tuple[SweepSpec, Mapping[str, Sequence[Any]] | None]:
    """Return what the command searches. One message says what the settings of another sweeper are called here."""
    config, settings = multirun.config, multirun.settings
    try:
        spec, plain_grid = read_space(config, settings, multirun.line)
        refuse_endless(spec, settings)
    except SweepError as error:
        if note := describe_foreign_settings(config, settings, None):
            raise SweepError(f"{error}\n{note}") from None
        raise
    if note := describe_foreign_settings(config, settings, spec):
        log.warning("%s", note)
    if spec.metric_source == "stdout":
        log.warning("metric.from: stdout has no effect: only `wandbsweep run` reads what a program prints.")
    return spec, plain_grid


def _start_sweep(
    multirun: Multirun,
    sweep_id: str,
    directory: Path,
    spec: SweepSpec,
    *,
    plain_grid: Mapping[str, Sequence[Any]] | None = None,
    hosted: HostedPlace | None = None,
    joined: bool = False,
) -> PreparedSweep | None:
    """Write a sweep that is new here, and return it. None: another process has created one there meanwhile."""
    snapshot = find_sources(multirun.loader.get_search_path(), multirun.searchpath)
    record = multirun.describe_launch(sweep_id, snapshot, spec, plain_grid=plain_grid, hosted=hosted)
    record = replace(record, directory=str(directory))
    if not write_sweep(directory, multirun.config, snapshot, record, spec):
        return None
    return _make_prepared_sweep(multirun, directory, record, spec, joined=joined)


def _make_prepared_sweep(
    multirun: Multirun, directory: Path, record: LaunchRecord, spec: SweepSpec, *, joined: bool
) -> PreparedSweep:
    """Return a sweep that is on disk, ready to be launched.

    Its agents' jobs are composed with the fixed overrides. If these do not compose, because a config group is
    mandatory, they are composed with those of some trial.
    """
    slots = record.overrides.slots
    overrides = format_overrides(slots, {})
    try:
        open_snapshot(record, directory).load_sweep_config(multirun.config, overrides)
    except (HydraException, OmegaConfBaseException):
        overrides = format_overrides(slots, make_sample_point(spec))
    return PreparedSweep(directory, record, spec, joined, overrides)


def _join_sweep(multirun: Multirun, sweep_id: str) -> PreparedSweep:
    """Join the sweep ``sweep_id``, which the command names, as it was started.

    Raises SweepDirectoryError if there is no such sweep, or if the command would change it.
    """
    settings = multirun.settings
    directory = multirun.find_directory(sweep_id)
    if not sweepdir.holds_sweep(directory):
        directory = sweepdir.find_sweep(sweep_id, of_project=True)  # or raises, and names the existing sweeps
    record = LaunchRecord.load(directory)
    if record.sweep_id != sweep_id:
        raise SweepDirectoryError(f"{directory} holds the sweep {record.sweep_id}, not {sweep_id}.")
    record = _follow_project(record)
    fixed = [slot.get("line") for slot in record.overrides.slots]
    given = [line for line in multirun.arguments if line not in fixed]
    refused = [line for line in given if not _is_run_cap(line)] + _find_changed_settings(record, settings)
    if refused:
        raise SweepDirectoryError(
            f"A sweep that is joined runs what it was started with, so {' '.join(refused)} cannot be changed; "
            "what can is ++sweep.run_cap, hydra.sweeper.agents, count, agents_at_once, max_failures, gpus_per_agent, "
            "detach, isolation, resume_key, and hydra.launcher.*"
        )
    run_caps: list[Any] = [settings.sweep.get("run_cap"), *(line.partition("=")[2] for line in given)]
    return _reopen(multirun, directory, record, sweepdir.read_spec(directory), run_caps[-1])


def _join_hosted_sweep(multirun: Multirun, ref: str) -> PreparedSweep:
    """Join a sweep at W&B as its directory says, or, if there is none on this machine, as this command says.

    Args:
        multirun: The command.
        ref: ``[wandb:][[entity/]project/]id``.

    Returns:
        The sweep.

    Raises:
        SweepError: There is no such sweep, it is over, or the command says what it searches.
        SpaceError: What it searches does not fit the application.
    """
    from wandbsweep.controllers.hosted.decode import parse_ref
    from wandbsweep.controllers.hosted.sweeps import find_hosted_sweep

    sweep_id = parse_ref(ref)[2]
    directory = multirun.find_directory(sweep_id)
    if sweepdir.holds_sweep(directory):
        return _join_sweep(multirun, sweep_id)
    line = multirun.line
    place, spec = find_hosted_sweep(ref)
    foreign = [key for key in line.fixed if key in spec.parameters or (is_sweep_key(key) and not multirun.has_own_key)]
    if refused := [*line.parameters, *foreign, *(f"hydra.sweeper.sweep.{key}" for key in multirun.settings.sweep)]:
        raise SweepError(f"W&B keeps what the sweep {ref} searches, so {', '.join(refused)} cannot be set here.")
    check_composition(multirun, spec)
    hosted = HostedPlace(place.entity, place.project, begun="elsewhere")
    started = _start_sweep(multirun, sweep_id, directory, spec, hosted=hosted, joined=True)
    return started or _join_sweep(multirun, sweep_id)


def _resume_sweep(multirun: Multirun, directory: Path, spec: SweepSpec) -> PreparedSweep:
    """Resume the sweep in ``directory`` if the command asks for the same one.

    Args:
        multirun: The command.
        directory: The sweep's directory.
        spec: What the command searches.

    Returns:
        The stored sweep, with the command's ``run_cap``.

    Raises:
        SweepDirectoryError: The command asks for another sweep; the message names the differences.
    """
    record, stored = _follow_project(LaunchRecord.load(directory)), sweepdir.read_spec(directory)
    found = sweepdir.find_differences(stored.identity, spec.identity)
    before, now = (_list_fixed(slots, record) for slots in (record.overrides.slots, multirun.line.slots))
    found += [f"override {text}: was not there" for text in sorted(now - before)]
    found += [f"override {text}: is not there any more" for text in sorted(before - now)]
    seed = multirun.settings.seed
    if seed is not None and seed != record.controller.seed:
        found.append(f"hydra.sweeper.seed: {record.controller.seed}, now {seed}")
    sweepdir.refuse_differences(directory, found)
    return _reopen(multirun, directory, record, stored, spec.run_cap)


def _follow_project(record: LaunchRecord) -> LaunchRecord:
    """Return the record for the working directory if the one in which the sweep was started does not exist any more.

    The interpreter may have been moved as well.
    """
    here = Path.cwd()
    if not Path(record.application.cwd).is_dir():
        record = record.move(here)
    if record.moved_from is None or Path(record.application.cwd) != here:
        return record
    return replace(record, application=replace(record.application, command=find_start_command()))


def _list_fixed(slots: Sequence[OverrideSlot], record: LaunchRecord) -> set[str]:
    """Return the fixed overrides, without those of the sweep configuration: two specs are compared instead."""
    lines = (slot["line"] for slot in slots if "line" in slot)
    return {line for line in lines if not record.overrides.selects_sweep(line)}


def _reopen(
    multirun: Multirun, directory: Path, record: LaunchRecord, spec: SweepSpec, run_cap: object
) -> PreparedSweep:
    """Return the stored sweep, with another ``run_cap``, ``max_failures`` or ``resume_key`` if one is given."""
    if record.moved_from is not None:
        log.warning("The project was moved from %s: trials run in %s now.", record.moved_from, record.application.cwd)
        record = replace(record, directory=str(directory))
        with sweepdir.lock_directory(directory):
            record.save(directory)
    max_failures = multirun.settings.max_failures
    if multirun.names_setting("max_failures") and max_failures != record.controller.max_failures:
        record = replace(record, controller=replace(record.controller, max_failures=max_failures))
        with sweepdir.lock_directory(directory):
            record.save(directory)
    resume_key = multirun.settings.resume_key
    if resume_key is not None and resume_key != record.overrides.resume_key:
        overrides = format_overrides(record.overrides.slots, make_sample_point(spec))
        composed = open_snapshot(record, directory).load_sweep_config(multirun.config, overrides)
        check_resume_key(composed, resume_key)
        record = replace(record, overrides=replace(record.overrides, resume_key=resume_key))
        with sweepdir.lock_directory(directory):
            record.save(directory)
    if run_cap is not None and run_cap != spec.run_cap:
        spec = change_run_cap(spec, int(str(run_cap)) if str(run_cap).isdecimal() else run_cap)
        with sweepdir.lock_directory(directory):
            sweepdir.write_spec(directory, spec)
    return _make_prepared_sweep(multirun, directory, record, spec, joined=True)


def _is_run_cap(line: str) -> bool:
    return line.lstrip("+").startswith(f"{SWEEP_KEY}.run_cap=")


def _find_changed_settings(record: LaunchRecord, settings: Settings) -> list[str]:
    """Return the given settings that differ from those with which the sweep was started."""
    default = Settings()
    changed = [
        f"hydra.sweeper.{key}={getattr(settings, key)}"
        for key in _FIXED_SETTINGS
        if getattr(settings, key) not in (getattr(default, key), getattr(record.controller, key))
    ]
    return changed + [f"hydra.sweeper.sweep.{key}" for key in settings.sweep if key != "run_cap"]
