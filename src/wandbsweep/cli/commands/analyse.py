"""``wandbsweep analyse``: importance, convergence and what early termination saved and cost, in a terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wandbsweep.cli.command import Command, add_by_argument, pick, print_json, read_sweep

if TYPE_CHECKING:
    from wandbsweep.results.analysis.convergence import Convergence
    from wandbsweep.results.analysis.correlation import Correlation
    from wandbsweep.results.analysis.importance import Importance
    from wandbsweep.results.analysis.savings import Savings
    from wandbsweep.results.analysis.verdicts import Verdicts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_by_argument(parser)
    parser.add_argument("--metric", metavar="NAME", help="analyse this metric (default: the sweep's own)")
    parser.add_argument(
        "--method",
        metavar="METHOD",
        help="how to compute importance: fanova, ped-anova or optuna-fanova (default: fanova if scikit-learn is "
        "installed, else ped-anova)",
    )


def run(options: argparse.Namespace) -> int:
    from wandbsweep.results.analysis.convergence import assess_convergence
    from wandbsweep.results.analysis.correlation import compute_correlation
    from wandbsweep.results.analysis.importance import compute_importance
    from wandbsweep.results.analysis.savings import compute_savings
    from wandbsweep.results.analysis.trial_matrix import build_trial_matrix
    from wandbsweep.results.analysis.verdicts import judge_stops

    data = read_sweep(options)
    matrix = build_trial_matrix(data, options.metric)
    importance = compute_importance(matrix, method=options.method)
    correlation = compute_correlation(matrix)
    convergence = assess_convergence(data, important=importance if options.metric is None else None)
    savings, verdicts = compute_savings(data), judge_stops(data)
    if options.json:
        print_json(_format_analysis_json(importance, correlation, convergence, savings, verdicts))
    else:
        print("\n".join(_format_analysis(importance, correlation, convergence, savings, verdicts)))
    return 0


def _format_analysis_json(
    importance: Importance,
    correlation: Correlation,
    convergence: Convergence,
    savings: Savings,
    verdicts: Verdicts | None,
) -> dict[str, Any]:
    gain = convergence.gain
    ratios = ("kind", "linear", "linear_interval", "rank", "rank_interval")
    return {
        **pick(importance, "metric", "trials", "warning", "method"),
        "importance": {
            name: {"share": share, "interval": importance.intervals[name]} for name, share in importance.items()
        },
        "correlation": {name: pick(association, *ratios) for name, association in correlation.items()},
        **pick(convergence, "converged", "stalled", "concentrated", "trials_since_best", "concentration"),
        "gain": gain and {"trials": gain.more, "chance": gain.chance, "expected": gain.expected},
        "reasons": convergence.reasons,
        **pick(savings, "stopped", "steps_saved", "share_saved", "seconds_saved", "doubtful"),
        "stops_hurt": verdicts and verdicts.hurt,
        "verdicts": verdicts and pick(verdicts, "chance", "expected_losses", "best_places", "likely", "agreements"),
    }


def _format_analysis(
    importance: Importance,
    correlation: Correlation,
    convergence: Convergence,
    savings: Savings,
    verdicts: Verdicts | None,
) -> list[str]:
    lines = [importance.warning] if importance.warning else []
    if importance:
        width = max(map(len, importance))
        lines.append(f"{'parameter':<{width}}  importance (90 %)   correlation by rank (95 %) with {importance.metric}")
        for name, share in importance.items():
            low, high = importance.intervals[name]
            shown = f"{share:4.0%} ({low:.0%} to {high:.0%})"
            lines.append(f"{name:<{width}}  {shown:<18}  {_format_association(correlation, name)}".rstrip())
        lines.append(f"importance: {importance.method}, of {importance.trials} trials")
    answer = "Time to stop" if convergence.converged else "Continue"
    lines += ["", f"{answer}:", *(f"  - {reason}" for reason in convergence.reasons)]
    if savings.stopped and savings.full_steps is not None:
        saved = f"{savings.steps_saved} steps ({savings.share_saved:.0%}), about {savings.seconds_saved:.1f} s"
        lines += ["", f"Stopping {savings.stopped} trials early saved {saved}."]
        if savings.doubtful:
            shown = ", ".join(f"{n} ({savings.chances[n]:.0%})" for n in savings.doubtful[:5])
            lines.append(f"These might have become the best: {shown}.")
        elif savings.chances:
            lines.append("None of them was likely to become the best.")
        if verdicts:
            lines.append(verdicts.describe())
    return lines


def _format_association(correlation: Correlation, name: str) -> str:
    if name not in correlation:
        return "-"
    a = correlation[name]
    low, high = a.rank_interval
    if a.kind == "correlation ratio":
        return f" {a.rank:.2f} ({low:.2f} to {high:.2f}), a ratio without sign"
    return f"{a.rank:+.2f} ({low:+.2f} to {high:+.2f})"


COMMAND = Command(
    "analyse",
    "Show which parameters matter, whether to continue, and what early termination saved.",
    run,
    add_arguments,
)
