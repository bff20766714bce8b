"""``wandbsweep``: runs the program of a sweep file, and reads any sweep, during and after it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module

from wandbsweep.cli.command import Command
from wandbsweep.errors import SweepError
from wandbsweep.text import escape_output

# A new command is a module of ``cli/commands`` with a ``COMMAND`` (or several ``COMMANDS``), named here; ``--help``
# lists them in this order.
MODULES = (
    "run",
    "preview",
    "list",
    "status",
    "table",
    "best",
    "logs",
    "analyse",
    "export",
    "report",
    "dashboard",
    "narrow",
    "evaluate",
    "control",
    "retry",
    "init",
    "doctor",
    "completion",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, 1 if there is nothing to show, 2 for bad input, 130 after Ctrl-C.
    """
    options = make_parser().parse_args(arguments)
    escape_output()
    try:
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a failure can still be reported
    except SweepError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # as after `| head`
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        print(f"wandbsweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _discard_output() -> None:
    """Discard buffered output: Python would write it when the process exits, and fail again."""
    with suppress(OSError, ValueError):  # stdout may not be a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load_commands() -> Iterator[Command]:
    """Yield every command in the order of ``--help``."""
    for name in MODULES:
        module = import_module(f"wandbsweep.cli.commands.{name}")
        yield from module.COMMANDS if hasattr(module, "COMMANDS") else [module.COMMAND]


def make_parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="wandbsweep",
        description="Run the program of a W&B sweep file, and read any sweep, while it runs or afterwards. To run a "
        "sweep of a Hydra application, start that: python train.py -m hydra/sweeper=wandbsweep",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('wandbsweep')}")
    parser.set_defaults(parser=parser)  # for `completion`
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in load_commands():
        added = subparsers.add_parser(command.name, help=command.about, description=command.about)
        if command.takes_sweep:
            added.add_argument(
                "sweep",
                nargs="?",
                metavar="SWEEP",
                help="a sweep: its directory, its id, URL#ID in a database, or wandb:ENTITY/PROJECT/ID (default: the "
                "newest one in outputs/ or started in the working directory, or else below it)",
            )
        added.add_argument("--json", action="store_true", help="print JSON")
        added.set_defaults(run=command.run)
        command.add_arguments(added)
    return parser
