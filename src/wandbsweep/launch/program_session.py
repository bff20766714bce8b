"""One ``wandbsweep run``: prepares the sweep, and runs agents until it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepError
from wandbsweep.launch.devices import assign_devices
from wandbsweep.launch.program_launchers import (
    LAUNCHERS,
    launch_local,
    launch_slurm,
    make_slurm_executor,
    parse_launcher_options,
)
from wandbsweep.launch.program_sweep import RunOptions, prepare_program_sweep
from wandbsweep.launch.session import Session
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.settings import Settings


@dataclass(frozen=True)
class ProgramRun:
    """Where and how agents run."""

    agents: int | None = None
    launcher: str = "local"
    launcher_options: Sequence[str] = ()
    """``key=value``, for SLURM."""
    detach: bool = False
    gpus_per_agent: int | None = None


@dataclass(frozen=True)
class EndedRun:
    """A sweep whose agents have ended, or are submitted."""

    data: SweepData
    status: int
    """The exit status."""


def run_program_sweep(sweep: str, options: RunOptions, how: ProgramRun) -> EndedRun:
    """Run the sweep of a file, or join or resume an existing one, to its end.

    Args:
        sweep: A sweep file, or an existing sweep: its directory, or its id.
        options: What the sweep is started with.
        how: Where and how agents run.

    Returns:
        The sweep as it ended.

    Raises:
        SweepError: Something of this is not valid; nothing was written.
    """
    launcher = LAUNCHERS[how.launcher]
    given = parse_launcher_options(how.launcher_options)
    settings = Settings(
        agents=how.agents,
        count=options.count,
        gpus_per_agent=how.gpus_per_agent,
        detach=how.detach,
        output="log",
        isolation="none",  # an agent imports nothing of the program's
    )
    check_launcher(how, given, settings)
    prepared = prepare_program_sweep(sweep, options)
    program = prepared.record.program
    assert program is not None
    executor = make_slurm_executor(prepared.directory, given) if how.launcher == "slurm" else None
    session = Session(prepared, settings, launcher=launcher)

    def launch(overrides: Sequence[Sequence[str]], first: int) -> Sequence[Any]:
        numbers = range(first, first + len(overrides))
        if executor is not None:
            return launch_slurm(executor, prepared.directory, numbers, options.count)
        return launch_local(prepared.directory, numbers, options.count, session.devices, program.grace_s)

    status = 0
    try:
        session.run(launch)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    return EndedRun(SweepReader(prepared.directory).read(), status)


def check_launcher(how: ProgramRun, given: Mapping[str, Any], settings: Settings) -> None:
    """Check that a launcher can do what is asked of it.

    Args:
        how: Where and how agents run.
        given: The launcher's options.
        settings: The same as the sweeper's settings.

    Raises:
        SweepError: It cannot.
    """
    if how.launcher == "slurm":
        if how.gpus_per_agent is not None:
            raise SweepError(
                "--gpus-per-agent is for --launcher local; SLURM gives each job its own GPUs: "
                f"--launcher-option gpus_per_node={how.gpus_per_agent}"
            )
        make_slurm_executor(Path(), given)  # or raises
        return
    if given:
        raise SweepError("--launcher-option is for --launcher slurm; agents of this machine have none.")
    if how.detach:
        raise SweepError("--detach needs --launcher slurm: agents of this machine end with this process.")
    try:
        assign_devices(LAUNCHERS[how.launcher], settings, how.agents or 1)
    except SweepError as error:
        names = {"hydra.sweeper.gpus_per_agent": "--gpus-per-agent", "hydra.sweeper.agents": "--agents"}
        text = str(error)
        for setting, option in names.items():
            text = text.replace(setting, option)
        raise SweepError(text) from None
