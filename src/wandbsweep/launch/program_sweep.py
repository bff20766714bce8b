"""Turns ``wandbsweep run`` into a sweep that is ready to be launched. Everything is checked before it is written."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wandbsweep.agent.signals import GRACE_S
from wandbsweep.controllers.create import create_directory, create_study
from wandbsweep.errors import SweepConfigError, SweepDirectoryError, SweepError
from wandbsweep.programs.macros import ENV, Words, expand, find_notes, read_command
from wandbsweep.programs.scripts import is_hydra_application
from wandbsweep.settings import LEASE_S, MAX_ATTEMPTS, MAX_FAILURES
from wandbsweep.spec.load import change_run_cap, load_sweep, require_end
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.database_url import holds_password, mask_password
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import (
    OUTPUTS,
    Application,
    ControllerOptions,
    LaunchRecord,
    Program,
    TrialOverrides,
)
from wandbsweep.sweep.prepared import PreparedSweep
from wandbsweep.sweep.provenance import write_provenance

log = logging.getLogger(__name__)

_RELATIVE_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:///)(?P<path>[^?:/][^?]*)")


@dataclass(frozen=True)
class RunOptions:
    """What the command line says besides the sweep; None: nothing."""

    run_cap: int | None = None
    count: int | None = None
    seed: int | None = None
    storage: str | None = None
    max_failures: int | None = None
    max_attempts: int | None = None
    lease_s: float | None = None
    grace_s: float | None = None
    python: str | None = None
    endless: bool = False

    def find_fixed(self) -> list[str]:
        """Return the given options that only the command that starts a sweep can set."""
        names = ("seed", "storage", "max_attempts", "lease_s")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


def prepare_program_sweep(sweep: str, options: RunOptions) -> PreparedSweep:
    """Create the sweep of a file, or join or resume the one that exists.

    Args:
        sweep: A sweep file, or an existing sweep: its directory, or its id.
        options: The command line's other options.

    Raises:
        SweepError: The file breaks a rule, its program cannot be run, or there is no such sweep; nothing is written.
    """
    path = Path(sweep)
    if sweepdir.holds_sweep(path) or not (path.is_file() or path.suffix in (".yaml", ".yml")):
        return _join(sweep, options)
    return _create(sweep, options)


def check_program_sweep(file: str, options: RunOptions) -> PreparedSweep:
    """Check the sweep of a file, and return what ``prepare_program_sweep`` would write.

    Args:
        file: A sweep file.
        options: The command line's other options.

    Raises:
        SweepError: The file breaks a rule, or its program cannot be run.
    """
    spec = _read_spec(file, options)
    if spec.method_info.external:
        raise SweepConfigError([f"method: {spec.method!r} needs W&B's servers: wandb sweep {file}"], source=file)
    _refuse_endless(spec, options)
    cwd = Path.cwd()
    program = _read_program(spec, options, cwd, file)
    sweep_id = sweepdir.make_sweep_id()
    directory = cwd / OUTPUTS / sweep_id
    controller = ControllerOptions(
        seed=options.seed,
        storage=_check_storage(options.storage),
        max_failures=MAX_FAILURES if options.max_failures is None else options.max_failures,
        lease_s=LEASE_S if options.lease_s is None else options.lease_s,
        max_attempts=MAX_ATTEMPTS if options.max_attempts is None else options.max_attempts,
    )
    record = LaunchRecord(
        sweep_id=sweep_id,
        application=Application(str(cwd), None, Path(spec.program or file).stem, _find_start()),
        overrides=TrialOverrides(slots=[], hydra=[]),
        controller=controller,
        directory=str(directory),
        program=program,
    )
    return PreparedSweep(directory, record, spec, joined=False, agent_overrides=())


def _create(file: str, options: RunOptions) -> PreparedSweep:
    prepared = check_program_sweep(file, options)
    directory, record = prepared.directory, prepared.record
    with create_directory(directory):
        record.save(directory)
        write_provenance(directory, Path(record.application.cwd))
        create_study(directory, record, prepared.spec, "--storage")
        sweepdir.write_spec(directory, prepared.spec)
    return prepared


def _join(sweep: str, options: RunOptions) -> PreparedSweep:
    directory = sweepdir.find_sweep(sweep)  # or raises, and names the existing sweeps
    record, spec = LaunchRecord.load_if_exists(directory), sweepdir.read_spec(directory)
    if record is None or record.program is None:
        start = f"Join it with:\n  {record.join_command(directory)}" if record else "It was made in Python."
        raise SweepDirectoryError(f"{directory} was not started by wandbsweep run. {start}")
    if fixed := options.find_fixed():
        raise SweepDirectoryError(
            f"A sweep that is joined runs what it was started with, so {' '.join(fixed)} cannot be changed; what can "
            "is --run-cap, --agents, --count, --max-failures, --grace-s, --python, --gpus-per-agent and the launcher."
        )
    program = record.program
    if options.python is not None:
        program = replace(program, interpreter=_find_python(options.python))
    if options.grace_s is not None:
        program = replace(program, grace_s=options.grace_s)
    changed = replace(record, program=program)
    if options.max_failures is not None:
        changed = replace(changed, controller=replace(record.controller, max_failures=options.max_failures))
    cwd = Path(record.application.cwd)
    if not cwd.is_dir():
        raise SweepDirectoryError(f"{cwd}, in which the sweep's trials run, does not exist here.")
    _check_program(spec, program, cwd)
    if record.moved_from is not None:
        log.warning("The project was moved from %s: trials run in %s now.", record.moved_from, cwd)
        changed = replace(changed, directory=str(directory))
    with sweepdir.lock_directory(directory):
        if changed != record or record.moved_from is not None:
            changed.save(directory)
        if options.run_cap is not None and options.run_cap != spec.run_cap:
            spec = change_run_cap(spec, options.run_cap)
            sweepdir.write_spec(directory, spec)
    return PreparedSweep(directory, changed, spec, joined=True, agent_overrides=())


def _read_spec(file: str, options: RunOptions) -> SweepSpec:
    """Load a sweep file, and log its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = load_sweep(file)
        if options.run_cap is not None:
            spec = change_run_cap(spec, options.run_cap)
    for note in dict.fromkeys(str(warning.message) for warning in caught):
        log.warning("%s", note)
    return spec


def _refuse_endless(spec: SweepSpec, options: RunOptions) -> None:
    """Raise SweepConfigError if nothing would end the sweep, unless the user allows that."""
    if not (options.count or options.endless):
        require_end(
            spec,
            "add --run-cap 50 (or run_cap: 50 to the file), --count 10 (trials per agent), a metric.target, or "
            "--endless",
        )


def _read_program(spec: SweepSpec, options: RunOptions, cwd: Path, file: str) -> Program:
    """Return how the program of a sweep file is run, being sure that it can be."""
    try:
        is_hydra = is_hydra_application(spec.program, cwd)
        command = read_command(spec.config.get("command"), spec.program, is_hydra=is_hydra)
    except SweepConfigError as error:
        raise SweepConfigError(error.violations, source=file) from None
    for note in find_notes(command, os.environ):
        log.warning("%s", note)
    grace_s = GRACE_S if options.grace_s is None else options.grace_s
    program = Program(command, _find_python(options.python), grace_s)
    _check_program(spec, program, cwd, file)
    return program


def _check_program(spec: SweepSpec, program: Program, cwd: Path, file: str | None = None) -> None:
    """Raise SweepConfigError if the program, or what runs it, does not exist."""
    words = Words({}, {}, spec.program, program.interpreter, "", "")
    found = expand(program.command, words, os.environ)
    faults = []
    if found[:1] == [ENV]:
        found = [word for word in found[1:] if "=" not in word]  # env's own assignments
    runner = found[0] if found else ""
    if not runner:
        faults.append("command: is empty without the parameters, so there is nothing to run")
    elif not _is_executable(runner, cwd):
        faults.append(_describe_missing_runner(runner, cwd))
    if fault := _find_missing_script(spec.program, program.command, cwd, file):
        faults.append(fault)
    if faults:
        raise SweepConfigError(faults, source=file)


def _is_executable(runner: str, cwd: Path) -> bool:
    if os.sep in runner:
        return os.access(cwd / runner, os.X_OK) and (cwd / runner).is_file()
    return shutil.which(runner) is not None


def _describe_missing_runner(runner: str, cwd: Path) -> str:
    if (cwd / runner).is_file():
        return (
            f"command: {runner} cannot be executed: it is not in PATH, or its file is not executable. Start it by "
            f"${{interpreter}}, or name it ./{runner} and set its x bit"
        )
    split = f"; its words must be items of their own: {runner.split()}" if " " in runner else ""
    return f"command: there is no program {runner!r} in PATH or {cwd}{split}"


def _find_missing_script(program: str | None, command: Sequence[str], cwd: Path, file: str | None) -> str:
    """Return that ``program`` does not exist; empty if it does, or if it is no file but a module."""
    words = list(command)
    if program is None or "${program}" not in words or (cwd / program).exists():
        return ""
    before = words[words.index("${program}") - 1] if words.index("${program}") else ""
    if before != "${interpreter}" and not re.fullmatch(r"(.*/)?(python|bash|sh)[\d.]*", before):
        return ""  # `-m`, or the program itself, which is looked for in PATH
    there = Path(file).parent.absolute() if file else cwd
    hint = f"; it is in {there}, so run the sweep there" if (there / program).exists() else ""
    return f"program: there is no file {program} in {cwd}, where trials run{hint}"


def _find_start() -> list[str]:
    """Return the words that start this command in a terminal like this one."""
    found = shutil.which("wandbsweep")
    is_own = found is not None and Path(found).parent == Path(sys.executable).parent
    return ["wandbsweep", "run"] if is_own else [sys.executable, "-m", "wandbsweep.cli", "run"]


def _find_python(given: str | None) -> str:
    """Return the absolute path of the interpreter that runs trials.

    Raises:
        SweepError: There is no such program.
    """
    if given is None:
        return sys.executable
    found = shutil.which(given)
    if found is None:
        raise SweepError(f"--python: there is no program {given!r}; name an interpreter, such as .venv/bin/python.")
    return os.path.abspath(found)


def _check_storage(url: str | None) -> str | None:
    """Return the storage's URL, in which a file has an absolute path. Raises SweepError if it holds a password."""
    if url is None:
        return None
    if holds_password(url):
        raise SweepError(
            f"--storage: {mask_password(url)} holds a password, which would be written to the sweep's files. Put it in "
            "an environment variable that the agents have too, and name that one: "
            "--storage 'postgresql://me:${oc.env:DB_PASSWORD}@host/sweeps'"
        )
    return _RELATIVE_SQLITE.sub(lambda match: f"{match['scheme']}{Path(match['path']).absolute()}", url)
