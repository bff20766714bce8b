"""``wandbsweep report``: one HTML file; with ``--watch`` the same page, served while the sweep runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from wandbsweep.cli.command import Command, add_by_argument, read_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_by_argument(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE (default: report.html in the sweep's directory)"
    )
    parser.add_argument(
        "--watch", action="store_true", help="serve the page and keep it up to date with the sweep until Ctrl-C"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="with --watch: the address to listen on; an address other than this machine's own needs a token",
    )
    parser.add_argument("--port", type=int, default=0, help="with --watch: the port (default: any free one)")
    parser.add_argument(
        "--token",
        help="with --watch: the token that the page's address must end with (default: a random one if it is needed)",
    )


def run(options: argparse.Namespace) -> int:
    data = read_sweep(options)
    if options.watch:
        from wandbsweep.results.report.serve import serve

        return serve(options.sweep or str(data.directory), options.host, options.port, options.token, options.by)
    from wandbsweep.results.report.page import write_report

    # A sweep of W&B's servers may have no directory here.
    directory = data.directory if data.directory.is_dir() else Path()
    path = write_report(data, options.output or directory / "report.html")
    print(json.dumps({"file": str(path)}) if options.json else str(path))
    if not data.trials:
        print("The sweep has no trials yet.", file=sys.stderr)
    return 0


COMMAND = Command("report", "Write the whole sweep into one HTML file, which works offline.", run, add_arguments)
