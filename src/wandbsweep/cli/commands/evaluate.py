"""``wandbsweep evaluate``: train the best configurations again with several seeds, for numbers to publish."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wandbsweep.cli.command import Command, add_by_argument, pick, print_json, read_sweep

if TYPE_CHECKING:
    from wandbsweep.cli.evaluation.evaluation import Candidate, EvaluationPlan
    from wandbsweep.results.analysis.evaluation import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_by_argument(parser)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs per configuration (default: 5)")
    parser.add_argument(
        "--seed-key", metavar="KEY", help="the configuration's key of the seed (default: that of `repeats`, else seed)"
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="the metric to report (default: the sweep's metric on the test split)"
    )
    parser.add_argument("--top", type=int, default=1, metavar="K", help="train the best K configurations (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands instead of running them")
    parser.add_argument(
        "--with",
        dest="extra",
        action="append",
        default=[],
        metavar="OVERRIDE",
        help="a Hydra override for these runs; may be repeated",
    )


def run(options: argparse.Namespace) -> int:
    from wandbsweep.cli.evaluation.evaluation import plan_evaluation, run_evaluation

    plan = plan_evaluation(read_sweep(options), **pick(options, "seeds", "seed_key", "metric", "top", "extra"))
    if options.dry_run:
        for runs in plan.candidates:
            print(shlex.join(runs.command))
        return 0
    candidates = run_evaluation(plan)
    if options.json:
        print_json(_format_report_json(plan, candidates))
    else:
        print("\n".join(_format_report(plan, candidates)))
    for warning in plan.warnings:
        print(warning, file=sys.stderr)
    return 0 if candidates[0].summary else 1


def _format_report_json(plan: EvaluationPlan, candidates: Sequence[Candidate]) -> dict[str, Any]:
    best = candidates[0].trial
    return {
        "metric": plan.metric,
        "goal": plan.goal,
        "seed_key": plan.seed_key,
        "directory": str(plan.directory),
        "optimistic": {"metric": plan.sweep_metric, "value": best.value},
        "configurations": [
            {
                "number": c.trial.number,
                "params": c.trial.params,
                "values": c.values,
                "failed": c.failed,
                "mean": c.summary.mean if c.summary else None,
                "std": c.summary.deviation if c.summary else None,
                "interval": c.summary.interval if c.summary else None,
            }
            for c in candidates
        ],
        "comparisons": [
            {
                "first": best.number,
                "second": c.trial.number,
                **pick(c.comparison, "pairs", "difference", "interval", "p", "distinguishable"),
            }
            for c in candidates
            if c.comparison
        ],
        "warnings": plan.warnings,
    }


def _format_report(plan: EvaluationPlan, candidates: Sequence[Candidate]) -> list[str]:
    best = candidates[0].trial
    lines = []
    for c in candidates:
        lines.append(f"Trial {c.trial.number}: {plan.metric} {_format_summary(c.summary)}")
        lines += [f"  {plan.seed_key}={seed}: {value:.5g}" for seed, value in c.values.items()]
        lines += [f"  {plan.seed_key}={seed}: failed: {reason}" for seed, reason in c.failed.items()]
    for c in candidates:
        if (pair := c.comparison) is None:
            continue
        p = "p unknown" if pair.p is None else f"p = {pair.p:.2g}"
        better = best.number if (pair.difference > 0) == (plan.goal == "maximize") else c.trial.number
        verdict = f"can be told apart, {better} is better" if pair.distinguishable else "cannot be told apart"
        lines.append(
            f"Trials {best.number} and {c.trial.number} {verdict}: they differ by {pair.difference:+.3g} on "
            f"{pair.pairs} common seeds ({p}, paired t-test)"
        )
    if best.value is not None and math.isfinite(best.value):
        lines.append(
            f"The sweep's own {plan.sweep_metric} of {best.value:.5g} is the best of {len(plan.data.trials)} trials "
            "and therefore too good to be reported; report the values above."
        )
    return [*lines, f"Runs: {plan.directory}"]


def _format_summary(summary: Summary | None) -> str:
    if summary is None:
        return "was not measured"
    if summary.deviation is None or summary.interval is None:
        return f"{summary.mean:.5g} (one run)"
    low, high = summary.interval
    return (
        f"{summary.mean:.5g} ± {summary.deviation:.2g} (standard deviation of {summary.count} runs; "
        f"95 % confidence of the mean: {low:.5g} to {high:.5g})"
    )


COMMAND = Command(
    "evaluate",
    "Train the best configuration again with several seeds, and show the mean, deviation and confidence of a metric.",
    run,
    add_arguments,
)
