"""``wandbsweep report``: one HTML file; with ``--watch`` the same page, served while the sweep runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from wandbsweep.cli.commands import Command, opened


def add(command: Command) -> None:
    parser = command("report", run, "Write all there is to see of it into one HTML file, which needs no network.")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: report.html in the sweep's directory")
    parser.add_argument("--watch", action="store_true", help="serve the page, which follows the sweep, until Ctrl-C")
    parser.add_argument(
        "--host", default="127.0.0.1", help="with --watch: the address; any but this machine's own needs a token"
    )
    parser.add_argument("--port", type=int, default=0, help="with --watch; default: any that is free")
    parser.add_argument(
        "--token", help="with --watch: what the address has to end in; default: made up where it is needed"
    )


def run(options: argparse.Namespace) -> int:
    results = opened(options)
    if options.watch:
        from wandbsweep.results.report.serve import serve

        return serve(options.sweep or str(results.directory), options.host, options.port, options.token)
    from wandbsweep.results.report import write

    # A sweep of W&B's servers may have no directory here.
    own = results.directory if results.directory.is_dir() else Path()
    path = write(results, options.output or own / "report.html")
    print(json.dumps({"file": str(path)}) if options.json else str(path))
    if not results.trials:
        print("The sweep has no trials yet.", file=sys.stderr)
    return 0
