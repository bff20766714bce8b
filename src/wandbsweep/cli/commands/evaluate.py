"""``wandbsweep evaluate``: the best configuration trained anew with several seeds, and what may be reported of it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from wandbsweep.cli.commands import Command, opened

if TYPE_CHECKING:
    from wandbsweep.cli.commands.reruns import Evaluated


def add(command: Command) -> None:
    parser = command(
        "evaluate",
        run,
        "Train the best configuration again with several seeds: mean, deviation, and confidence of a held-out metric.",
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="how many runs; default: 5")
    parser.add_argument("--seed-key", metavar="KEY", help="the configuration's key of the seed; default: seed")
    parser.add_argument("--metric", metavar="NAME", help="what to report; default: the sweep's, of the test split")
    parser.add_argument(
        "--top", type=int, default=1, metavar="K", help="so many of the best configurations; default: 1"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands instead")
    parser.add_argument(
        "--with", dest="extra", action="append", default=[], metavar="OVERRIDE", help="a Hydra override for these runs"
    )


def run(options: argparse.Namespace) -> int:
    from wandbsweep.cli.commands.reruns import plan_evaluation

    planned = plan_evaluation(
        opened(options),
        seeds=options.seeds,
        seed_key=options.seed_key,
        metric=options.metric,
        top=options.top,
        extra=options.extra,
    )
    if options.dry_run:
        for job in planned.jobs:
            print(job.shown)
        return 0
    found = planned.run()
    if options.json:
        print(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))
    for warning in found.warnings:
        print(warning, file=sys.stderr)
    return 0 if found.configurations[0].summary is not None else 1


def _as_json(found: Evaluated) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "goal": found.goal,
        "seed_key": found.seed_key,
        "directory": str(found.directory),
        "optimistic": {"metric": found.sweep_metric, "value": found.configurations[0].sweep_value},
        "configurations": [
            {
                "number": c.number,
                "params": dict(c.params),
                "values": {str(seed): value for seed, value in c.values.items()},
                "failed": {str(seed): reason for seed, reason in c.failed.items()},
                "mean": c.summary.mean if c.summary else None,
                "std": c.summary.deviation if c.summary else None,
                "interval": c.summary.interval if c.summary else None,
            }
            for c in found.configurations
        ],
        "comparisons": [
            {
                "first": found.configurations[0].number,
                "second": number,
                "pairs": c.pairs,
                "difference": c.difference,
                "interval": c.interval,
                "p": c.p,
                "distinguishable": c.distinguishable,
            }
            for number, c in found.comparisons.items()
        ],
        "warnings": found.warnings,
    }


def _lines(found: Evaluated) -> list[str]:
    lines = []
    for c in found.configurations:
        lines.append(f"Trial {c.number}: {found.metric} {_summary(c.summary)}")
        lines += [f"  {found.seed_key}={seed}: {value:.5g}" for seed, value in c.values.items()]
        lines += [f"  {found.seed_key}={seed}: failed: {reason}" for seed, reason in c.failed.items()]
    best = found.configurations[0]
    for number, pair in found.comparisons.items():
        p = "p unknown" if pair.p is None else f"p = {pair.p:.2g}"
        first_wins = (pair.difference > 0) == (found.goal == "maximize")
        better = best.number if first_wins else number
        verdict = f"can be told apart, {better} is better" if pair.distinguishable else "cannot be told apart"
        lines.append(
            f"Trials {best.number} and {number} {verdict}: they differ by {pair.difference:+.3g} on "
            f"{pair.pairs} common seeds ({p}, paired t-test)"
        )
    if best.sweep_value is not None and math.isfinite(best.sweep_value):
        lines.append(
            f"The sweep's own {found.sweep_metric} of {best.sweep_value:.5g} is the best of {found.trials} and so too "
            "good to be reported; what stands above may be."
        )
    return [*lines, f"Runs: {found.directory}"]


def _summary(summary: Any) -> str:
    if summary is None:
        return "was not measured"
    if summary.deviation is None:
        return f"{summary.mean:.5g} (one run)"
    low, high = summary.interval
    return (
        f"{summary.mean:.5g} ± {summary.deviation:.2g} (standard deviation of {summary.count} runs; "
        f"95 % confidence of the mean: {low:.5g} to {high:.5g})"
    )
