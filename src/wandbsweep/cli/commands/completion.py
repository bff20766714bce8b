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

    for parser in _find_subparsers(options.parser):
        for action in parser._actions:
            if action.dest == "sweep":
                action.complete = shtab.cmd(_LIST_SWEEPS)  # type: ignore[attr-defined]  # shtab's convention
            elif action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(options.parser, options.shell))
    return 0


def _find_subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    (group,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return list(group.choices.values())


COMMAND = Command(
    "completion", "Print a script that lets a shell complete these commands.", run, add_arguments, takes_sweep=False
)
