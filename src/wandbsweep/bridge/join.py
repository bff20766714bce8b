"""Joins or resumes an existing sweep, which runs what it was started with, whatever the command says now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wandbsweep.bridge.composition import check_composition
from wandbsweep.bridge.create import write_sweep
from wandbsweep.bridge.multirun import Multirun
from wandbsweep.bridge.prepared import PreparedSweep, make_prepared_sweep
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.settings import Settings
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import HostedPlace, LaunchRecord
from wandbsweep.sweep.override_strings import SWEEP_KEY, OverrideSlot, is_sweep_key

_FIXED_SETTINGS = ("seed", "storage", "lease_s", "max_attempts")
"""Settings that only the command that starts a sweep can set."""


def join_sweep(multirun: Multirun, sweep_id: str) -> PreparedSweep:
    """Join the sweep ``sweep_id``, which the command names, as it was started.

    Raises SweepDirectoryError if there is no such sweep, or if the command would change it.
    """
    settings = multirun.settings
    directory = multirun.find_directory(sweep_id)
    if not sweepdir.holds_sweep(directory):
        directory = sweepdir.find_sweep(sweep_id)  # or raises, and names the existing sweeps
    record = LaunchRecord.load(directory)
    if record.sweep_id != sweep_id:
        raise SweepDirectoryError(f"{directory} holds the sweep {record.sweep_id}, not {sweep_id}.")
    given = [line for line in multirun.arguments if {"line": line} not in record.overrides.slots]
    refused = [line for line in given if not _is_run_cap(line)] + _find_changed_settings(record, settings)
    if refused:
        raise SweepDirectoryError(
            f"A sweep that is joined runs what it was started with, so {' '.join(refused)} cannot be changed; "
            "what can is ++sweep.run_cap, hydra.sweeper.agents, count, max_failures, gpus_per_agent, detach, "
            "isolation, and hydra.launcher.*"
        )
    run_caps: list[Any] = [settings.sweep.get("run_cap"), *(line.partition("=")[2] for line in given)]
    return _reopen(multirun, directory, record, sweepdir.read_spec(directory), run_caps[-1])


def join_hosted_sweep(multirun: Multirun, ref: str) -> PreparedSweep:
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
    from wandbsweep.controllers.hosted.lookup import find_hosted_sweep
    from wandbsweep.controllers.hosted.refs import parse_ref

    sweep_id = parse_ref(ref)[2]
    directory = multirun.find_directory(sweep_id)
    if sweepdir.holds_sweep(directory):
        return join_sweep(multirun, sweep_id)
    line = multirun.line
    place, spec = find_hosted_sweep(ref)
    foreign = [key for key in line.fixed if key in spec.parameters or (is_sweep_key(key) and not multirun.has_own_key)]
    if refused := [*line.parameters, *foreign, *(f"hydra.sweeper.sweep.{key}" for key in multirun.settings.sweep)]:
        raise SweepError(f"W&B keeps what the sweep {ref} searches, so {', '.join(refused)} cannot be set here.")
    check_composition(multirun, spec)
    snapshot = multirun.find_sources()
    hosted = HostedPlace(place.entity, place.project, begun="elsewhere")
    record = multirun.describe_launch(sweep_id, snapshot, hosted=hosted)
    if not write_sweep(directory, multirun.config, snapshot, record, spec):
        return join_sweep(multirun, sweep_id)
    return make_prepared_sweep(multirun.config, directory, record, spec, joined=True)


def resume_sweep(multirun: Multirun, directory: Path, spec: SweepSpec) -> PreparedSweep:
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
    record, stored = LaunchRecord.load(directory), sweepdir.read_spec(directory)
    found = sweepdir.find_differences(stored.identity, spec.identity)
    before, now = (_list_fixed(slots, record) for slots in (record.overrides.slots, multirun.line.slots))
    found += [f"override {text}: was not there" for text in sorted(now - before)]
    found += [f"override {text}: is not there any more" for text in sorted(before - now)]
    seed = multirun.settings.seed
    if seed is not None and seed != record.controller.seed:
        found.append(f"hydra.sweeper.seed: {record.controller.seed}, now {seed}")
    sweepdir.refuse_differences(directory, found)
    return _reopen(multirun, directory, record, stored, spec.run_cap)


def _list_fixed(slots: Sequence[OverrideSlot], record: LaunchRecord) -> set[str]:
    """Return the fixed overrides, without those of the sweep configuration: two specs are compared instead."""
    lines = (slot["line"] for slot in slots if "line" in slot)
    return {line for line in lines if not (record.overrides.stripped_keys and is_sweep_key(line))}


def _reopen(
    multirun: Multirun, directory: Path, record: LaunchRecord, spec: SweepSpec, run_cap: object
) -> PreparedSweep:
    """Return the stored sweep, with another ``run_cap`` or ``max_failures`` if one is given."""
    max_failures = multirun.settings.max_failures
    if record.controller.max_failures is not None and max_failures not in (
        Settings().max_failures,
        record.controller.max_failures,
    ):
        record = replace(record, controller=replace(record.controller, max_failures=max_failures))
        with sweepdir.lock_directory(directory):
            record.save(directory)
    if run_cap is not None and run_cap != spec.run_cap:
        spec = load_sweep({**spec.dump(), "run_cap": int(str(run_cap)) if str(run_cap).isdecimal() else run_cap})
        with sweepdir.lock_directory(directory):
            sweepdir.write_spec(directory, spec)
    return make_prepared_sweep(multirun.config, directory, record, spec, joined=True)


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
