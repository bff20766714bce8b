"""``wandbsweep doctor``: whether sweeps at W&B can run from here."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from wandbsweep.cli.command import Command, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="a sweep file to check as well")
    parser.add_argument("--entity", help="the W&B entity (default: wandb's default)")
    parser.add_argument("--project", help="the W&B project (default: wandb's default)")


def run(options: argparse.Namespace) -> int:
    """Return 1 if an error was found, which would keep a sweep from running."""
    from wandbsweep.controllers.hosted.doctor import run_checks

    findings = run_checks(options.file, entity=options.entity, project=options.project)
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(finding)
    return int(any(finding.state == "error" for finding in findings))


COMMAND = Command(
    "doctor",
    "Check whether sweeps at W&B can run from here, and say what to do if they cannot.",
    run,
    add_arguments,
    takes_sweep=False,
)
