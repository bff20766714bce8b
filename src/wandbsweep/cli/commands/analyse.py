"""``wandbsweep analyse``: what matters, whether to go on, and what early termination saved, in a terminal."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from wandbsweep.cli.commands import Command, opened

if TYPE_CHECKING:
    from wandbsweep.results.analysis.convergence import Convergence
    from wandbsweep.results.analysis.correlation import Correlation
    from wandbsweep.results.analysis.importance import Importance
    from wandbsweep.results.analysis.savings import Savings


def add(command: Command) -> None:
    parser = command("analyse", run, "Which parameters matter, whether to go on, and what stopping early saved.")
    parser.add_argument("--metric", metavar="NAME", help="another metric than the sweep's own")
    parser.add_argument("--method", metavar="METHOD", help="of importance: fanova, ped-anova or optuna-fanova")


def run(options: argparse.Namespace) -> int:
    from wandbsweep.results.analysis.convergence import assess_convergence

    results = opened(options)
    important = results.importance(options.metric, method=options.method)
    correlated = results.correlation(options.metric)
    verdict = assess_convergence(results, important=important if options.metric is None else None)
    saved = results.savings()
    if options.json:
        print(json.dumps(_as_json(important, correlated, verdict, saved), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(important, correlated, verdict, saved)))
    return 0


def _as_json(important: Importance, correlated: Correlation, verdict: Convergence, saved: Savings) -> dict[str, Any]:
    return {
        "metric": important.metric,
        "trials": important.trials,
        "warning": important.warning,
        "method": important.method,
        "importance": {
            name: {"share": _number(share), "interval": list(map(_number, important.intervals[name]))}
            for name, share in important.items()
        },
        "correlation": {
            name: {
                "kind": a.kind,
                "linear": _number(a.linear),
                "linear_interval": list(map(_number, a.linear_interval)),
                "rank": _number(a.rank),
                "rank_interval": list(map(_number, a.rank_interval)),
            }
            for name, a in correlated.items()
        },
        "converged": verdict.converged,
        "stalled": verdict.stalled,
        "concentrated": verdict.concentrated,
        "trials_since_best": verdict.trials_since_best,
        "concentration": _number(verdict.concentration),
        "gain": None
        if verdict.gain is None
        else {
            "trials": verdict.gain.more,
            "chance": _number(verdict.gain.chance),
            "expected": _number(verdict.gain.expected),
        },
        "reasons": list(verdict.reasons),
        "stopped": saved.stopped,
        "steps_saved": saved.steps_saved,
        "share_saved": _number(saved.share_saved),
        "seconds_saved": _number(saved.seconds_saved),
        "doubtful": saved.doubtful,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _lines(important: Importance, correlated: Correlation, verdict: Convergence, saved: Savings) -> list[str]:
    lines = [important.warning] if important.warning else []
    if important:
        width = max(map(len, important))
        lines.append(f"{'parameter':<{width}}  importance (90 %)   correlation by rank (95 %) with {important.metric}")
        for name, share in important.items():
            low, high = important.intervals[name]
            shown = f"{share:4.0%} ({low:.0%} to {high:.0%})"
            lines.append(f"{name:<{width}}  {shown:<18}  {_association(correlated, name)}".rstrip())
        lines.append(f"importance: {important.method}, of {important.trials} trials")
    answer = "Time to stop" if verdict.converged else "Go on"
    lines += ["", f"{answer}:", *(f"  - {reason}" for reason in verdict.reasons)]
    if saved.stopped and saved.whole is not None:
        lines += [
            "",
            f"Stopping {saved.stopped} trials early saved {saved.steps_saved} steps ({saved.share_saved:.0%}),",
        ]
        lines[-1] += f" about {saved.seconds_saved:.1f} s."
        if saved.doubtful:
            shown = ", ".join(f"{n} ({saved.chances[n]:.0%})" for n in saved.doubtful[:5])
            lines.append(f"These might have become the best: {shown}.")
        elif saved.chances:
            lines.append("None of them was likely to become the best.")
    return lines


def _association(correlated: Correlation, name: str) -> str:
    if name not in correlated:
        return "-"
    a = correlated[name]
    low, high = a.rank_interval
    if a.kind == "correlation ratio":
        return f" {a.rank:.2f} ({low:.2f} to {high:.2f}), a ratio without sign"
    return f"{a.rank:+.2f} ({low:+.2f} to {high:+.2f})"
