"""Bayesian search where trials fail: the best loss so far, with failures modelled, or counted as the worst value.

python benchmarks/search/failing.py --seeds 4
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wandbsweep import TrialRecord, load_sweep
from wandbsweep.search.bayes import success
from wandbsweep.search.make import make_search

TRIALS = 50
SHOWN = (20, 30, 50)
Params = Mapping[str, Any]
CENTRE = np.array([0.7, 0.7, 0.3, 0.5, 0.6])
CUBE = {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(5)}
LAYER = {
    "width": {"distribution": "q_log_uniform_values", "min": 16, "max": 2048, "q": 8},
    "batch": {"values": [16, 32, 64, 128, 256, 512]},
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
    "dropout": {"min": 0.0, "max": 0.5},
    "kind": {"values": ["a", "b", "c"]},
}
RATES = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "momentum": {"min": 0.0, "max": 0.99},
    "decay": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-1},
    "dropout": {"min": 0.0, "max": 0.5},
}


def bowl(params: Params, rng: np.random.Generator) -> float:
    return float(((np.array([params[f"x{i}"] for i in range(5)]) - CENTRE) ** 2).sum())


def edge(params: Params, rng: np.random.Generator) -> float | None:
    """The best configurations lie at the edge of those that fail."""
    return None if params["x0"] + params["x1"] > 1.15 else bowl(params, rng)


def chance(params: Params, rng: np.random.Generator) -> float | None:
    """A third of the trials fails, wherever they are."""
    return None if rng.random() < 0.33 else bowl(params, rng)


def memory(params: Params, rng: np.random.Generator) -> float | None:
    """Wide networks are better, and need small batches."""
    if params["width"] * params["batch"] > 60_000:
        return None
    rate = np.log10(params["lr"]) + 2.5 + 0.1 * np.log2(params["batch"] / 64)
    size = 2 - 0.2 * np.log2(params["width"] / 16)
    return float(size + rate**2 + 2 * (params["dropout"] - 0.2) ** 2 + {"a": 0, "b": 0.2, "c": 0.1}[params["kind"]])


def divergence(params: Params, rng: np.random.Generator) -> float | None:
    """The best learning rate is a little below those that diverge."""
    step = np.log10(params["lr"] / (1 - params["momentum"]))
    if step > -0.5:
        return None
    return float(
        0.5 * (step + 0.7) ** 2 + 0.1 * (np.log10(params["decay"]) + 3.5) ** 2 + 3 * (params["dropout"] - 0.1) ** 2
    )


PROBLEMS: Mapping[str, tuple[dict[str, Any], Callable[[Params, np.random.Generator], float | None]]] = {
    "edge": (CUBE, edge),
    "chance": (CUBE, chance),
    "memory": (LAYER, memory),
    "divergence": (RATES, divergence),
}


def search(problem: str, seed: int) -> tuple[list[float], int]:
    """Return the best loss after each of ``SHOWN`` trials, and how many trials failed."""
    parameters, evaluate = PROBLEMS[problem]
    spec = load_sweep({"method": "bayes", "metric": {"name": "loss"}, "parameters": parameters})
    proposals, rng = make_search(spec, seed=seed), np.random.default_rng(seed)
    trials: list[TrialRecord] = []
    for number in range(TRIALS):
        params = proposals.propose(number, trials)
        loss = evaluate(params, rng)
        state, reports = ("failed", {}) if loss is None else ("finished", {0: loss})
        trials.append(TrialRecord(number, state, params, reports=reports, value=loss))
    bests = [min((t.value for t in trials[:n] if t.value is not None), default=np.inf) for n in SHOWN]
    return bests, sum(trial.state == "failed" for trial in trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    fewest = success.FEWEST
    print("| problem | failures count as | " + " | ".join(f"loss at {n}" for n in SHOWN) + " | failed |")
    print("|" + "---|" * (len(SHOWN) + 3))
    for problem in PROBLEMS:
        for label, needed in (("the worst value", TRIALS), ("failures", fewest)):
            success.FEWEST = needed
            found = [search(problem, seed) for seed in range(args.seeds)]
            means = np.mean([bests for bests, _ in found], axis=0)
            failed = np.mean([count for _, count in found])
            print(
                f"| {problem} | {label} | " + " | ".join(f"{m:.4f}" for m in means) + f" | {failed:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
