"""``wandbsweep table``: the trials, the best first."""

from __future__ import annotations

import argparse
import sys

from wandbsweep.cli.command import Command, add_by_argument, add_top_argument, format_trial_json, print_json, read_sweep

_TERMINAL_TOP = 50
"""How many trials a terminal shows by default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_by_argument(parser)
    add_top_argument(parser, "the best N trials", _TERMINAL_TOP)


def run(options: argparse.Namespace) -> int:
    data = read_sweep(options)
    if options.json:
        print_json([format_trial_json(data, trial) for trial in data.ranked[: options.top or None]])
        return 0
    from wandbsweep.results.terminal.tables import make_console, print_failures, print_leaderboard

    top = options.top if options.top is not None or not sys.stdout.isatty() else _TERMINAL_TOP
    out = make_console()
    print_leaderboard(data, out, top=top or None, hint="; --top 0 for all" if options.top is None else "")
    print_failures(data, out)
    return 0


COMMAND = Command("table", "List the trials, the best first.", run, add_arguments)
