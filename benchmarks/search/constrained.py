"""Bayesian search with limits of what trials report: the best feasible loss so far, with the limits modelled or not.

    python -m benchmarks.search.constrained --seeds 4

Without the model, the search sees the metric alone, as any search would that is not told of the limits. `failed`: the
trials that violate a limit are told as failed ones, which is what a user can do today with any search.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.search.failing import CUBE, LAYER, RATES, bowl
from wandbsweep.search.make import make_search
from wandbsweep.spec.load import load_sweep
from wandbsweep.trial import TrialRecord

TRIALS = 50
SHOWN = (10, 20, 30, 50)
NOTHING = math.inf
Params = Mapping[str, Any]


def disc(params: Params) -> tuple[float, dict[str, float]]:
    """Gardner et al. 2014, scaled to the unit square: two sines, feasible where a third is low."""
    x, y = 6 * params["x"], 6 * params["y"]
    limit = math.cos(x) * math.cos(y) - math.sin(x) * math.sin(y)
    return math.cos(2 * x) * math.cos(y) + math.sin(x), {"c": limit}


def islands(params: Params) -> tuple[float, dict[str, float]]:
    """Gardner et al. 2014's second problem: a small part of the square is feasible."""
    x, y = 6 * params["x"], 6 * params["y"]
    return math.sin(x) + y, {"c": math.sin(x) * math.sin(y)}


def edge(params: Params) -> tuple[float, dict[str, float]]:
    """A bowl whose minimum is infeasible."""
    return bowl(params, np.random.default_rng()), {"c": math.exp(4 * (params["x0"] + params["x1"]))}


def corner(params: Params) -> tuple[float, dict[str, float]]:
    """About one configuration in a hundred is feasible."""
    return bowl(params, np.random.default_rng()), {"c": params["x0"] + params["x2"] + params["x4"]}


def network(params: Params) -> tuple[float, dict[str, float]]:
    """Wide networks are better and need memory; small batches are slow: two limits, memory and latency."""
    width, batch = params["width"], params["batch"]
    rate = np.log10(params["lr"]) + 2.5 + 0.1 * np.log2(batch / 64)
    size = 2 - 0.2 * np.log2(width / 16)
    loss = size + rate**2 + 2 * (params["dropout"] - 0.2) ** 2 + {"a": 0, "b": 0.2, "c": 0.1}[params["kind"]]
    return float(loss), {"memory": 1 + width * batch / 3000, "latency": 2 + width / 100 + 300 / batch}


def calibration(params: Params) -> tuple[float, dict[str, float]]:
    """The loss is best where another metric, which is reported with noise, is too high."""
    step = np.log10(params["lr"] / (1 - params["momentum"]))
    loss = 0.5 * (step + 0.7) ** 2 + 0.1 * (np.log10(params["decay"]) + 3.5) ** 2 + 3 * (params["dropout"] - 0.1) ** 2
    error = 0.05 + 0.02 * (step + 2) ** 2 - 0.05 * params["dropout"]
    return float(loss), {"error": float(error + 0.002 * math.sin(1e4 * params["lr"]))}


Problem = tuple[dict[str, Any], dict[str, Any], Callable[[Params], tuple[float, dict[str, float]]]]
SQUARE = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
PROBLEMS: Mapping[str, Problem] = {
    "disc": (SQUARE, {"c": {"max": 0.5}}, disc),
    "islands": (SQUARE, {"c": {"max": -0.95}}, islands),
    "edge": (CUBE, {"c": {"max": math.exp(4 * 1.0)}}, edge),
    "corner": (CUBE, {"c": {"max": 0.4}}, corner),
    "network": (LAYER, {"memory": {"max": 8}, "latency": {"max": 12}}, network),
    "calibration": (RATES, {"error": {"max": 0.06}}, calibration),
}
VARIANTS = ("unlimited", "failed", "modelled")


def search(problem: str, variant: str, seed: int) -> tuple[list[float], int]:
    """Return the best feasible loss after each of `SHOWN` trials, and how many trials were infeasible."""
    parameters, limits, evaluate = PROBLEMS[problem]
    metric: dict[str, Any] = {"name": "loss"}
    limited = load_sweep({"method": "bayes", "metric": {**metric, "constraints": limits}, "parameters": parameters})
    plain = load_sweep({"method": "bayes", "metric": metric, "parameters": parameters})
    proposals = make_search(limited if variant == "modelled" else plain, seed=seed)
    trials: list[TrialRecord] = []
    best, bests, outside = NOTHING, [], 0
    for number in range(TRIALS):
        params = proposals.propose(number, trials)
        loss, metrics = evaluate(params)
        trial = TrialRecord(number, "finished", params, reports={0: loss}, value=loss, metrics=metrics)
        if limited.describe_infeasibility(trial):
            outside += 1
            if variant == "failed":
                trial = TrialRecord(number, "failed", params)
        else:
            best = min(best, loss)
        trials.append(trial)
        bests.append(best)
    return [bests[n - 1] for n in SHOWN], outside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    args = parser.parse_args()
    print(
        "| problem | limits are | "
        + " | ".join(f"loss at {n}" for n in SHOWN)
        + " | none feasible at 10 | infeasible |"
    )
    print("|" + "---|" * (len(SHOWN) + 4))
    for problem in args.problems.split(","):
        for variant in args.variants.split(","):
            found = [search(problem, variant, seed) for seed in range(args.seeds)]
            medians = np.median([bests for bests, _ in found], axis=0)
            none = sum(bests[0] == NOTHING for bests, _ in found)
            outside = np.mean([count for _, count in found])
            shown = " | ".join(f"{m:.4f}" for m in medians)
            print(f"| {problem} | {variant} | {shown} | {none} of {args.seeds} | {outside:.0f} |", flush=True)


if __name__ == "__main__":
    main()
