"""Stopping rules on curves of different lengths: random search at equal epochs with `auto`, and with Hyperband under
settings that suit some of these lengths and not others. Prints the tables as Markdown.

    python -m benchmarks.search.stoppers
    python -m benchmarks.search.stoppers --late      # artificial curves: the better a trial ends, the worse it starts

The real curves of `tasks/own.py` are thinned out to fewer epochs, or read between their epochs for more.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.search.searchers import Random
from benchmarks.search.simulation import Stopper, auto, hyperband, simulate
from benchmarks.search.tasks.own import DEVELOPMENT, EPOCHS, FAMILY, HELD_OUT, OwnTask, load_task
from wandbsweep.spec.sweep_spec import Goal

LENGTHS = (10, 27, 52, 200)
BANDS = ((1, 3), (1, 8), (3, 3), (9, 3), (27, 3))
FULL_TRIALS_OF_EPOCHS = 30


def resample(task: OwnTask, epochs: int, *, late: bool) -> OwnTask:
    curves = task.curves
    if late:
        sign = -1.0 if task.goal == "maximize" else 1.0
        handicap = np.maximum(0.0, 2 * task.median - task.optimum - task.final)
        start = 1 - np.log(np.arange(1, EPOCHS + 1)) / np.log(EPOCHS)
        curves = curves + sign * 1.5 * handicap[:, None] * start
    at = np.clip((np.arange(epochs) + 1) * EPOCHS / epochs - 1, 0, EPOCHS - 1)
    if epochs <= EPOCHS:
        at = at.round()
    before, share = np.floor(at).astype(int), at % 1
    after = np.minimum(before + 1, EPOCHS - 1)
    # A diverged value stays NaN, as 0 times NaN is NaN.
    curves = np.where(share > 0, curves[:, before] * (1 - share) + curves[:, after] * share, curves[:, before])
    return dataclasses.replace(task, curves=curves)


def list_stoppers(epochs: int) -> dict[str, Callable[[Goal], Stopper | None]]:
    found: dict[str, Callable[[Goal], Stopper | None]] = {"auto": auto, "nothing stopped": lambda goal: None}
    for least, eta in BANDS:
        if least < epochs:
            found[f"min_iter {least}, eta {eta}"] = lambda goal, m=least, e=eta: hyperband(goal, min_iter=m, eta=e)
    return found


def compute_regret(task: OwnTask, stopper: Stopper | None, *, workers: int, seed: int) -> tuple[float, int]:
    """Return the regret at the epochs of 30 full trials, and the number of trials."""
    budget = FULL_TRIALS_OF_EPOCHS * task.curves.shape[1]
    course = simulate(task, Random(task, seed), workers=workers, seed=seed, epochs=budget, stopper=stopper)
    return course.by_epoch[-1][1], course.trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", default="all", help="development, held-out or all")
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--workers", default="1,8")
    parser.add_argument("--late", action="store_true")
    options = parser.parse_args()
    names = {"development": DEVELOPMENT, "held-out": HELD_OUT, "all": DEVELOPMENT + HELD_OUT}[options.sets]
    print("| epochs | workers | stopper | regret | auto minus it, same runs | trials |\n" + "|---" * 6 + "|")
    for epochs in map(int, options.lengths.split(",")):
        tasks = [resample(load_task(f"{FAMILY}/{name}"), epochs, late=options.late) for name in names]
        for workers in map(int, options.workers.split(",")):
            ours = np.zeros(0)
            for title, make in list_stoppers(epochs).items():
                runs = [
                    compute_regret(task, make(task.goal), workers=workers, seed=seed)
                    for task in tasks
                    for seed in range(options.seeds)
                ]
                regrets, trials = np.array(runs).T
                ours = regrets if title == "auto" else ours
                difference, count = ours - regrets, len(regrets) ** 0.5
                paired = "" if title == "auto" else f"{difference.mean():+.3f} ± {difference.std() / count:.3f}"
                shown = f"{regrets.mean():.3f} ± {regrets.std() / count:.3f}"
                print(f"| {epochs} | {workers} | {title} | {shown} | {paired} | {trials.mean():.0f} |", flush=True)


if __name__ == "__main__":
    main()
