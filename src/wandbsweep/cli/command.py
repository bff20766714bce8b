"""The commands of ``wandbsweep``: their definition, and how they find their sweep."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.text import escape_surrogates
from wandbsweep.trial import TrialRecord, replace_nonfinite

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import SweepData


@dataclass(frozen=True)
class Command:
    """One command. Its module imports nothing heavy before ``run``, so that the command line starts quickly."""

    name: str
    about: str
    """One sentence for ``--help``."""
    run: Callable[[argparse.Namespace], int]
    """Takes the parsed options and returns the exit status."""
    add_arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None
    """Adds options of the command's own; ``--json`` is there already."""
    takes_sweep: bool = True
    """Whether the first argument names a sweep."""


def read_sweep(options: argparse.Namespace) -> SweepData:
    """Read the sweep that the command names."""
    from wandbsweep.results.reader import SweepReader

    return SweepReader(locate_sweep(options)).read().rank_by(getattr(options, "by", None))


def add_by_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that ``read_sweep`` obeys."""
    parser.add_argument(
        "--by",
        choices=("best", "last"),
        help="rank by the best or the last value that each trial reported (default: what the sweep says, else best)",
    )


def add_top_argument(parser: argparse.ArgumentParser, what: str, terminal: int) -> None:
    """Add ``--top N``, which shows only ``what``; a terminal shows ``terminal`` of them by default."""
    parser.add_argument(
        "--top",
        type=_parse_count,
        metavar="N",
        help=f"show only {what}; 0: all (default: {terminal} in a terminal, all in a pipe)",
    )


def _parse_count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"the value is {text!r}, but must be a whole number >= 0")
    return int(text)


def locate_sweep(options: argparse.Namespace) -> str | Path:
    """Return the sweep that the command names, by default the newest one that ``list_sweeps`` finds."""
    from wandbsweep.errors import SweepDirectoryError
    from wandbsweep.sweep.directory import list_sweeps

    if options.sweep is not None:
        return str(options.sweep)
    newest = next(iter(list_sweeps()), None)
    if newest is None:
        raise SweepDirectoryError(f"There is no sweep in {Path().absolute()}; name a sweep's directory.")
    return newest


def print_json(data: Any, *, indent: int | None = 2) -> None:
    text = json.dumps(replace_nonfinite(data), indent=indent, ensure_ascii=False)
    print(escape_surrogates(text), flush=True)  # JSON has the same escapes


def pick(value: object, *names: str) -> dict[str, Any]:
    """Return some attributes of ``value`` by their names, for JSON that has them under these names."""
    return {name: getattr(value, name) for name in names}


def format_trial_json(data: SweepData, trial: TrialRecord) -> dict[str, Any]:
    """Return what ``--json`` prints of one trial."""
    own = data.find_configuration(trial)
    repeated = {"mean": own.mean, "deviation": own.deviation, "runs": [run.number for run in own.runs]} if own else {}
    return {
        **pick(trial, "number", "state"),
        "metric": trial.value,
        "metric_name": data.spec.metric.name if data.spec.metric else None,
        "step": data.find_step(trial),
        **pick(trial, "last", "params", "metrics"),
        "overrides": data.overrides(trial),
        "directory": str(data.trial_directory(trial)),
        "steps": len(trial.reports),
        **pick(trial, "duration_s", "attempts", "agent", "reason", "cause"),
        **({"infeasible": data.spec.describe_infeasibility(trial)} if data.spec.limits else {}),
        **repeated,
    }
