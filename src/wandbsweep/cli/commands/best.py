"""``wandbsweep best``: the best trial, or the Pareto front of several metrics."""

from __future__ import annotations

import argparse
import sys

from wandbsweep.cli.command import Command, add_by_argument, format_trial_json, print_json, read_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_by_argument(parser)
    parser.add_argument("--overrides", action="store_true", help="print only its Hydra overrides, on one line")


def run(options: argparse.Namespace) -> int:
    data = read_sweep(options)
    if not data.spec.objectives:
        print(f"The sweep {data.sweep_id} has no metric, so no best trial is known.", file=sys.stderr)
        return 1
    if data.best is None:
        lacking = "has a value" if data.closest_to_feasible is None else "meets metric.constraints"
        print(f"No trial of {data.sweep_id} {lacking} yet.", file=sys.stderr)
        return 1
    if options.json:
        from wandbsweep.results.doubts import describe_doubt

        found = []
        for trial in data.winners:
            checkpoint = data.find_checkpoint(trial)
            found.append({**format_trial_json(data, trial), "checkpoint": str(checkpoint) if checkpoint else None})
        print_json(found if data.spec.metrics else {**found[0], "doubt": describe_doubt(data) or None})
    elif options.overrides:
        import shlex

        for trial in data.winners:
            print(shlex.join([*data.overrides(trial), *data.run_mode]))
    else:
        from wandbsweep.results.terminal.tables import make_console, print_best

        print_best(data, make_console())
    return 0


COMMAND = Command(
    "best", "Show the best trial, its parameters, and the command that trains it again.", run, add_arguments
)
