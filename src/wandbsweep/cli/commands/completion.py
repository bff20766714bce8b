"""``wandbsweep completion``: shell completion of commands, options and sweeps."""

from __future__ import annotations

import argparse

from wandbsweep.cli.command import Command

SHELLS = ("bash", "zsh", "fish")
_LIST_SWEEPS = "ls -d outputs/*/sweep.yaml 2>/dev/null | cut -d/ -f2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help='in bash and zsh: eval "$(wandbsweep completion SHELL)"; in fish: wandbsweep completion fish | source',
    )


def run(options: argparse.Namespace) -> int:
    import shtab

    (commands,) = (action for action in options.parser._actions if isinstance(action, argparse._SubParsersAction))
    for parser in commands.choices.values():
        for action in parser._actions:
            if action.dest == "sweep":
                action.complete = shtab.cmd(_LIST_SWEEPS)  # shtab's convention
            elif action.metavar == "FILE":
                action.complete = shtab.FILE
    print(shtab.complete(options.parser, options.shell))
    return 0


COMMAND = Command(
    "completion", "Print a script that lets a shell complete these commands.", run, add_arguments, takes_sweep=False
)
