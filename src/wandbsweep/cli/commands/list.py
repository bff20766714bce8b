"""``wandbsweep list``: this project's sweeps, the newest first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wandbsweep.cli.command import Command, add_top_argument, print_json

if TYPE_CHECKING:
    from wandbsweep.results.overview import SweepOverview

_TERMINAL_TOP = 20
"""How many sweeps a terminal shows by default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all",
        action="store_true",
        help="list all sweeps that you have started on this machine, in whatever directory",
    )
    add_top_argument(parser, "the newest N sweeps", _TERMINAL_TOP)


def run(options: argparse.Namespace) -> int:
    """List sweeps. The exit status is 1 if there is none."""
    from wandbsweep.results.overview import format_overview_json, read_overviews
    from wandbsweep.sweep.directory import list_sweeps

    directories = list_sweeps(thorough=True, everywhere=options.all)
    is_cut = options.top is None and sys.stdout.isatty() and not options.json
    top = _TERMINAL_TOP if is_cut else options.top or None
    overviews = list(read_overviews(directories[:top]))
    if options.json:
        print_json([format_overview_json(overview) for overview in overviews])
    elif not overviews:
        hint = "" if options.all else "; --all lists those that you have started in other directories"
        print(f"There is no sweep in {Path().absolute()}{hint}.", file=sys.stderr)
    else:
        _print_table(overviews)
        if len(overviews) < len(directories):
            print(f"{len(overviews)} of {len(directories)} sweeps; --top 0 for all")
    return 0 if overviews else 1


def _print_table(overviews: list[SweepOverview]) -> None:
    """Print a line per sweep. The last column may be of any length, so lines are as long as it needs."""
    from rich.cells import cell_len

    rows = [["id", "state", "method", "trials", "best", "when", "where"], *map(_list_cells, overviews)]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, where in rows:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        print("  ".join([*padded, where]))


def _list_cells(overview: SweepOverview) -> list[str]:
    from datetime import datetime

    from wandbsweep.text import show_name

    own, here = overview.directory.absolute(), Path().absolute()
    where = show_name(str(own.relative_to(here) if own.is_relative_to(here) else own))
    trials = f"{overview.ended}/{overview.cap}" if overview.cap else str(overview.ended)
    when = datetime.fromtimestamp(overview.started).strftime("%Y-%m-%d %H:%M")
    facts = ["", "", ""] if overview.error else [overview.method, trials, overview.best or "-"]
    last = f"{where}: {overview.error}" if overview.error else where
    return [show_name(overview.sweep_id), overview.state, *facts, when, last]


COMMAND = Command("list", "List this project's sweeps, the newest first.", run, add_arguments, takes_sweep=False)
