"""``wandbsweep doctor``: whether sweeps at W&B can work from here."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wandbsweep.cli.commands import Command


def add(command: Command) -> None:
    about = "Whether sweeps at W&B can work from here: one line a finding, with what to do about it."
    parser = command("doctor", run, about, sweep=False)
    parser.add_argument("file", nargs="?", metavar="FILE", help="a sweep file, to be checked as well")
    parser.add_argument("--entity", help="default: what wandb would take")
    parser.add_argument("--project", help="default: what wandb would take")


def run(options: argparse.Namespace) -> int:
    """0: nothing is in the way of a sweep; 1: something is."""
    from wandbsweep.controllers.hosted.doctor import run_checks

    findings = run_checks(options.file, entity=options.entity, project=options.project)
    if options.json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(finding)
    return int(any(finding.state == "error" for finding in findings))
