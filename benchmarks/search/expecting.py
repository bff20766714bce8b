"""Bayesian search with and without ``prior.expect``, right and wrong, on a bowl with many local optima.

python benchmarks/search/expecting.py --seeds 4
"""

from __future__ import annotations

import argparse

import numpy as np

from wandbsweep import TrialRecord, load_sweep
from wandbsweep.search.make import make_search

SHOWN = (10, 20, 40)
BEST = np.array([0.7, 0.3, 0.25, 0.6, 0.45, 0.8])
EXPECTED = {
    "none": None,
    "0.1 off in each of 6 parameters": BEST + 0.1 * np.array([1, -1, 1, -1, 1, -1]),
    "0.5 off": np.where(BEST > 0.5, BEST - 0.5, BEST + 0.5),
}


def search(expected: np.ndarray | None, seed: int) -> list[float]:
    """Return the best loss after each of ``SHOWN`` trials."""
    names = [f"x{i}" for i in range(len(BEST))]
    config = {
        "method": "bayes",
        "metric": {"name": "loss"},
        "parameters": {name: {"min": 0.0, "max": 1.0} for name in names},
    }
    if expected is not None:
        config["prior"] = {"expect": dict(zip(names, expected.tolist(), strict=True))}
    proposals = make_search(load_sweep(config), seed=seed)
    trials: list[TrialRecord] = []
    for number in range(max(SHOWN)):
        params = proposals.propose(number, trials)
        off = np.array([params[name] for name in names]) - BEST
        loss = float((off**2).sum() + 0.025 * (1 - np.cos(6 * np.pi * off)).sum())
        trials.append(TrialRecord(number, "finished", params, reports={0: loss}, value=loss))
    return [min(trial.value for trial in trials[:n] if trial.value is not None) for n in SHOWN]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    print("| expected | " + " | ".join(f"loss at {n}" for n in SHOWN) + " |")
    print("|" + "---|" * (len(SHOWN) + 1))
    for label, expected in EXPECTED.items():
        means = np.mean([search(expected, seed) for seed in range(args.seeds)], axis=0)
        print(f"| {label} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True)


if __name__ == "__main__":
    main()
