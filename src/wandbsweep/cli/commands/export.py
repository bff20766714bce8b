"""``wandbsweep export``: the trials, or their reports, as a file for other programs."""

from __future__ import annotations

import argparse
import json

from wandbsweep.cli.command import Command, read_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="a .csv, .jsonl or .parquet file, by its suffix"
    )
    parser.add_argument(
        "--histories", action="store_true", help="write one row per report (number, step, value) instead of per trial"
    )


def run(options: argparse.Namespace) -> int:
    from wandbsweep.results.frames import build_history_frame, build_trial_frame, export_frame

    data = read_sweep(options)
    frame = build_history_frame(data) if options.histories else build_trial_frame(data)
    path = export_frame(frame, options.output)
    if options.json:
        print(json.dumps({"file": str(path), "rows": len(frame)}))
    else:
        print(f"{path}: {len(frame)} rows")
    return 0


COMMAND = Command("export", "Write the trials to a .csv, .jsonl or .parquet file, one row each.", run, add_arguments)
