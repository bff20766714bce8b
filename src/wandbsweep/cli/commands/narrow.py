"""``wandbsweep narrow``: the next sweep file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wandbsweep.cli.command import Command, add_by_argument, print_json, read_sweep

if TYPE_CHECKING:
    from wandbsweep.results.narrowing.narrow import Narrowing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_by_argument(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write it to FILE (default: print it)")
    parser.add_argument(
        "--top", type=float, default=0.2, metavar="SHARE", help="the share of trials that count as best (default: 0.2)"
    )
    parser.add_argument(
        "--fork",
        action="store_true",
        help="let the next sweep learn from this one's trials; useful with method bayes, which starts from nothing "
        "otherwise (an extension of W&B's format)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")


def run(options: argparse.Namespace) -> int:
    from wandbsweep.errors import SweepError
    from wandbsweep.files import write_atomically
    from wandbsweep.results.narrowing.narrow import narrow
    from wandbsweep.results.narrowing.sweep_writer import format_sweep_file

    data = read_sweep(options)
    found = narrow(data, top=options.top, fork=options.fork)
    text = format_sweep_file(data, found)
    if options.output is not None:
        path = Path(options.output)
        if path.exists() and not options.force:
            raise SweepError(f"{path} exists already; give another name, or --force to overwrite it.")
        write_atomically(path, text)
    if options.json:
        _print_narrowing_json(found)
    elif options.output is None:
        print(text, end="")
    else:
        kinds = [change.kind for change in found.changes.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("narrowed", "fixed", "kept") if kind in kinds)
        print(f"{options.output}: {counts}")
        for note in found.notes:
            print(note, file=sys.stderr)
    return 0


def _print_narrowing_json(found: Narrowing) -> None:
    changes = {name: {"kind": c.kind, "why": c.why, "reasons": dict(c.reasons)} for name, c in found.changes.items()}
    print_json({"config": found.spec.dump(), "changes": changes, "notes": found.notes})


COMMAND = Command(
    "narrow", "Write the next sweep file, with ranges narrowed to where the best trials are.", run, add_arguments
)
