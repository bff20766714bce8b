"""The commands that make something of a sweep, a module each: ``add`` its options, ``run`` it; no heavy imports."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wandbsweep.results.sweep_results import SweepResults

Run = Callable[[argparse.Namespace], int]


class Command(Protocol):
    """Adds a command that takes ``--json``, and, with ``sweep``, a sweep."""

    def __call__(self, name: str, run: Run, about: str, *, sweep: bool = True) -> argparse.ArgumentParser: ...


def add_all(command: Command) -> None:
    from wandbsweep.cli.commands import (
        analyse,
        completion,
        dashboard,
        doctor,
        evaluate,
        export,
        init,
        narrow,
        orders,
        report,
    )

    for module in (analyse, export, report, dashboard, narrow, evaluate, orders, init, doctor, completion):
        module.add(command)


def opened(options: argparse.Namespace) -> SweepResults:
    """The sweep that the command names; the newest one where it names none."""
    from wandbsweep.results.sweep_results import open_sweep

    return open_sweep(named(options))


def named(options: argparse.Namespace) -> str | Path:
    """What to open: what the command names, or the sweep in ``outputs/`` that was started last."""
    from wandbsweep.errors import SweepDirectoryError
    from wandbsweep.sweep.directory import OUTPUTS, list_sweeps

    if options.sweep is not None:
        return str(options.sweep)
    newest = next(iter(list_sweeps()), None)
    if newest is None:
        raise SweepDirectoryError(f"There is no sweep in {OUTPUTS.absolute()}; name a sweep's directory.")
    return newest
