"""``wandbsweep narrow``: the next sweep file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from wandbsweep.cli.commands import Command, opened


def add(command: Command) -> None:
    parser = command("narrow", run, "Write the next sweep file: ranges narrowed to where the best trials are.")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: print it")
    parser.add_argument("--top", type=float, default=0.2, metavar="SHARE", help="of the trials that count as best: 0.2")
    parser.add_argument(
        "--fork",
        action="store_true",
        help="let it learn from this sweep's trials: best after bayes, which starts anew otherwise (not W&B's format)",
    )
    parser.add_argument("--force", action="store_true", help="write over FILE where it exists")


def run(options: argparse.Namespace) -> int:
    from wandbsweep.errors import SweepError
    from wandbsweep.files import write_atomically
    from wandbsweep.results.narrowing.narrow import narrow
    from wandbsweep.results.narrowing.sweep_writer import sweep_file

    results = opened(options)
    found = narrow(results, top=options.top, fork=options.fork)
    text = sweep_file(results, found)
    if options.output is not None:
        path = Path(options.output)
        if path.exists() and not options.force:
            raise SweepError(f"{path} is there already; give another name, or --force to write over it.")
        write_atomically(path, text)
    if options.json:
        changes = {
            name: {"kind": c.kind, "why": c.why, "reasons": dict(c.reasons)} for name, c in found.changes.items()
        }
        print(
            json.dumps(
                {"config": found.spec.dump(), "changes": changes, "notes": found.notes}, indent=2, ensure_ascii=False
            )
        )
    elif options.output is None:
        print(text, end="")
    else:
        kinds = [change.kind for change in found.changes.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("narrowed", "fixed", "kept") if kind in kinds)
        print(f"{options.output}: {counts}")
        for note in found.notes:
            print(note, file=sys.stderr)
    return 0
