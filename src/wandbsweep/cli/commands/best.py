"""``wandbsweep best``: the best trial, or the Pareto front of several metrics."""

from __future__ import annotations

import argparse
import sys

from wandbsweep.cli.command import Command, format_trial_json, print_json, read_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overrides", action="store_true", help="print only its Hydra overrides, on one line")


def run(options: argparse.Namespace) -> int:
    data = read_sweep(options)
    if not data.spec.objectives:
        print(f"The sweep {data.sweep_id} has no metric, so no best trial is known.", file=sys.stderr)
        return 1
    if data.best is None:
        print(f"No trial of {data.sweep_id} has a value yet.", file=sys.stderr)
        return 1
    if options.json:
        found = [format_trial_json(data, trial) for trial in data.winners]
        print_json(found if data.spec.metrics else found[0])
    elif options.overrides:
        import shlex

        for trial in data.winners:
            print(shlex.join(data.overrides(trial)))
    else:
        from wandbsweep.results.terminal.tables import make_console, print_best

        print_best(data, make_console())
    return 0


COMMAND = Command(
    "best", "Show the best trial, its parameters, and the command that trains it again.", run, add_arguments
)
