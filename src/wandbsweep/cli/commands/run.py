"""``wandbsweep run``: runs the program of a W&B sweep file, without a server and without Hydra."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING

from wandbsweep.cli.command import Command, print_json

if TYPE_CHECKING:
    from wandbsweep.launch.program_session import ProgramRun
    from wandbsweep.launch.program_sweep import RunOptions

_LAUNCHERS = ("local", "slurm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweep",
        metavar="SWEEP",
        help="a W&B sweep file with a program or a command; or a sweep to join or resume: its directory, or its id",
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``read_options`` reads."""
    parser.add_argument("--agents", type=_positive, metavar="N", help="how many trials run at once (default: 1)")
    parser.add_argument(
        "--count", type=_positive, metavar="N", help="trials that each agent runs (default: until the sweep is over)"
    )
    parser.add_argument(
        "--run-cap", type=_positive, metavar="N", help="the largest number of trials, in place of the file's run_cap"
    )
    parser.add_argument(
        "--launcher", choices=_LAUNCHERS, default="local", help="where agents run: on this machine, or as SLURM's jobs"
    )
    parser.add_argument(
        "--launcher-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of submitit's, such as partition=gpu, gpus_per_node=1, timeout_min=240, array_parallelism=8; "
        "may be given several times",
    )
    parser.add_argument("--detach", action="store_true", help="with --launcher slurm: submit the agents and return")
    parser.add_argument(
        "--gpus-per-agent", type=_positive, metavar="N", help="with --launcher local: each agent gets its own N GPUs"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the seed of the search (default: a random one)")
    parser.add_argument(
        "--storage", metavar="URL", help="where trials are stored: postgresql://… (default: in outputs/ID/journal.log)"
    )
    parser.add_argument(
        "--python", metavar="PATH", help="what ${interpreter} stands for (default: the Python that runs wandbsweep)"
    )
    parser.add_argument(
        "--grace-s", type=_seconds, metavar="S", help="seconds between SIGTERM and SIGKILL for a trial (default: 12)"
    )
    parser.add_argument(
        "--max-failures",
        type=_positive,
        metavar="N",
        help="end the sweep if its first N trials all fail; pause it if later this many in a row do (default: 5)",
    )
    parser.add_argument(
        "--max-attempts",
        type=_positive,
        metavar="N",
        help="how often the process or the agent of a trial may die before it stays crashed (default: 3)",
    )
    parser.add_argument(
        "--lease-s",
        type=_lease,
        metavar="S",
        help="seconds of silence after which an agent counts as dead, and others get its trial (default: 60)",
    )
    parser.add_argument("--endless", action="store_true", help="allow a random or bayes sweep that nothing would end")


def run(options: argparse.Namespace) -> int:
    """Run a sweep to its end. The exit status is that of ``Session.run``."""
    from wandbsweep.launch.program_session import run_program_sweep

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    given, how = read_options(options)
    # With --json, what a user reads goes to standard error.
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        ended = run_program_sweep(options.sweep, given, how)
    if options.json:
        print_json(
            {
                "sweep_id": ended.data.sweep_id,
                "directory": str(ended.data.directory),
                "states": ended.data.counts,
                "best": None if ended.data.best is None else ended.data.best.number,
            }
        )
    return ended.status


def read_options(options: argparse.Namespace) -> tuple[RunOptions, ProgramRun]:
    """Return what the sweep is started with, and where and how agents run."""
    from wandbsweep.launch.program_session import ProgramRun
    from wandbsweep.launch.program_sweep import RunOptions

    given = RunOptions(
        run_cap=options.run_cap,
        count=options.count,
        seed=options.seed,
        storage=options.storage,
        max_failures=options.max_failures,
        max_attempts=options.max_attempts,
        lease_s=options.lease_s,
        grace_s=options.grace_s,
        python=options.python,
        endless=options.endless,
    )
    how = ProgramRun(
        agents=options.agents,
        launcher=options.launcher,
        launcher_options=options.launcher_option,
        detach=options.detach,
        gpus_per_agent=options.gpus_per_agent,
    )
    return given, how


def _positive(text: str) -> int:
    return int(_read_number(text, least=1, whole=True))


def _seconds(text: str) -> float:
    return _read_number(text, least=0)


def _lease(text: str) -> float:
    return _read_number(text, least=1)


def _read_number(text: str, *, least: int, whole: bool = False) -> float:
    kind = "a whole number" if whole else "a number"
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"the value is {text!r}, but must be {kind} of at least {least}") from None
    if not number >= least:
        raise argparse.ArgumentTypeError(f"the value is {text}, but must be {kind} of at least {least}")
    return number


COMMAND = Command(
    "run",
    "Run the program of a W&B sweep file: agents on this machine or on SLURM, no server, no Hydra.",
    run,
    add_arguments,
    takes_sweep=False,
)
