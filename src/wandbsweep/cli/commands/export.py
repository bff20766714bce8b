"""``wandbsweep export``: the trials, or what they reported, as a file for other programs."""

from __future__ import annotations

import argparse
import json

from wandbsweep.cli.commands import Command, opened


def add(command: Command) -> None:
    parser = command("export", run, "Write its trials to a .csv, .jsonl or .parquet file, a row per trial.")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the suffix says the format")
    parser.add_argument("--histories", action="store_true", help="a row per report instead: number, step, value")


def run(options: argparse.Namespace) -> int:
    results = opened(options)
    path = results.export(options.output, histories=options.histories)
    rows = len(results.histories if options.histories else results.trials)
    if options.json:
        print(json.dumps({"file": str(path), "rows": rows}))
    else:
        print(f"{path}: {rows} rows")
    return 0
