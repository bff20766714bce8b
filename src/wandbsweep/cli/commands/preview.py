"""``wandbsweep preview``: shows what ``wandbsweep run`` would start, and starts nothing."""

from __future__ import annotations

import argparse
import logging

from wandbsweep.cli.command import Command, print_json
from wandbsweep.cli.commands.run import add_options, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweep",
        metavar="FILE",
        help="a W&B sweep file with a program or a command; the other options are those of `wandbsweep run`. For a "
        "Hydra application: python train.py -m hydra/sweeper=wandbsweep hydra.sweeper.dry_run=true",
    )
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the preview of a sweep file."""
    from wandbsweep.launch.preview import preview_program
    from wandbsweep.results.terminal.preview import print_preview
    from wandbsweep.results.terminal.tables import make_console

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    preview = preview_program(options.sweep, *read_options(options))
    if options.json:
        print_json(preview.dump())
    else:
        print_preview(preview, make_console())
    return 0


COMMAND = Command(
    "preview",
    "Show what `run` would start: the space, example trials, jobs, disk and warnings. Nothing is written.",
    run,
    add_arguments,
    takes_sweep=False,
)
