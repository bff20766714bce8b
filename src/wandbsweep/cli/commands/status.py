"""``wandbsweep status``: how far a sweep is."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from wandbsweep.cli.command import Command, locate_sweep, print_json

if TYPE_CHECKING:
    from wandbsweep.results.liveness import Liveness
    from wandbsweep.results.sweep_data import SweepData
    from wandbsweep.trial import TrialRecord

_WATCH_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch",
        action="store_true",
        help="follow the sweep until it ends; in a pipe, print new lines whenever it changes",
    )


def run(options: argparse.Namespace) -> int:
    from wandbsweep.results.liveness import find_liveness
    from wandbsweep.results.reader import SweepReader
    from wandbsweep.results.terminal.tables import make_console
    from wandbsweep.results.terminal.watching import follow, watch

    reader = SweepReader(locate_sweep(options))
    if not options.watch:
        data = reader.read()
        _print_status(data, find_liveness(data), as_json=options.json)
    elif sys.stdout.isatty() and not options.json:
        watch(reader.read, make_console(), every_s=_WATCH_S)
    else:
        for data, liveness in follow(reader.read, every_s=_WATCH_S):
            _print_status(data, liveness, as_json=options.json, indent=None)
    return 0


def _print_status(data: SweepData, liveness: Liveness | None, *, as_json: bool, indent: int | None = 2) -> None:
    if as_json:
        print_json(_format_status_json(data, liveness), indent=indent)
        return
    from wandbsweep.results.liveness import describe_frozen, describe_liveness
    from wandbsweep.results.terminal.tables import format_progress
    from wandbsweep.results.terminal.watching import format_headline

    lines = [
        format_headline(data),
        str(data.directory),
        format_progress(data, data.cap),
        *describe_frozen(data, liveness),
        *describe_liveness(data, liveness),
    ]
    print("\n".join(lines), flush=True)


def _format_status_json(data: SweepData, liveness: Liveness | None) -> dict[str, Any]:
    spec, best = data.spec, data.best
    return {
        "sweep_id": data.sweep_id,
        "directory": str(data.directory),
        "method": spec.method,
        "metric_name": spec.metric.name if spec.metric else None,
        "goal": spec.goal if spec.metric else None,
        **({"metrics": {m.name: m.goal for m in spec.metrics}} if spec.metrics else {}),
        "run_cap": spec.run_cap,
        "cap": data.cap,
        "trials": len(data.trials),
        "counts": data.counts,
        "best": None if best is None else _format_best(data, best),
        **({"order": liveness.command, "over": liveness.completion, "alive": liveness.is_alive} if liveness else {}),
    }


def _format_best(data: SweepData, best: TrialRecord) -> dict[str, Any]:
    if data.spec.metrics:
        return {"front": [trial.number for trial in data.front]}
    configuration = data.find_configuration(best)
    value = configuration.mean if configuration else best.value
    return {"number": best.number, "metric": value, "step": data.find_step(best), "last": best.last}


COMMAND = Command("status", "Show how many trials are in each state, and the best one so far.", run, add_arguments)
