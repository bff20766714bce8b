"""Compares searches on real learning curves, on a simulated clock, and prints the tables as Markdown.

    python benchmarks/search/run.py --quick                     # two data sets, three seeds: a few minutes
    python benchmarks/search/run.py --searches random,ours
    python benchmarks/search/run.py --smooth                    # harder: configurations between the stored ones as well
    python benchmarks/search/run.py --wandb-python ~/sweeps-venv/bin/python

W&B's engine (`pip install sweeps==0.3.0 'numpy<2'`) takes part only if the option, or the environment variable
WANDB_ENGINE_PYTHON, names a Python that has it. Every run is deterministic; runs already in
`--save` are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import peers
from clock import Stopper, auto, hyperband, simulate
from tables import DEVELOPMENT, EPOCHS, HELD_OUT, METRIC, SMOOTH, load_task

from wandbsweep.spec.sweep_spec import Goal

SEARCHES = ("random", "tpe", "wandb", "optuna-gp", "ours")
TRIALS = (10, 20, 30, 50)
FULL_TRIALS_OF_EPOCHS = 30
STOPPERS: dict[str, dict[str, Any]] = {
    "hyperband": {"type": "hyperband", "min_iter": 3, "eta": 3},
    "auto": {"type": "auto"},
}


@dataclass(frozen=True)
class Scenario:
    key: str
    title: str
    workers: int
    epochs: bool
    stopper: str | None


SCENARIOS = [
    Scenario(
        f"{stopper or ('epochs' if epochs else 'trials')}-{workers}",
        (f"the epochs of {FULL_TRIALS_OF_EPOCHS} full trials" if epochs else "full trials")
        + (f", {stopper}" if stopper else ", nothing stopped" if epochs else "")
        + f", {workers} worker{'s' * (workers > 1)}",
        workers,
        epochs,
        stopper,
    )
    for epochs, stopper in ((False, None), (True, None), *((True, stopper) for stopper in STOPPERS))
    for workers in (1, 8)
]


def make_stopper(scenario: Scenario, goal: Goal, search: str) -> Stopper | None:
    if scenario.stopper == "auto":
        return auto(goal, learns=search == "ours")
    return hyperband(goal) if scenario.stopper == "hyperband" else None


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Run one seed of one search on one task.

    The result holds the regrets at 10, 20, 30 and 50 trials, or at the epochs of as many full trials.
    """
    scenario = next(s for s in SCENARIOS if s.key == job["scenario"])
    task = load_task(job["set"], job["metric"])
    given = STOPPERS[scenario.stopper] if scenario.stopper else None
    searcher = peers.make(job["search"], task, job["seed"], early_terminate=given, python=job["python"])
    course = simulate(
        task,
        searcher,
        workers=scenario.workers,
        trials=None if scenario.epochs else max(TRIALS),
        epochs=FULL_TRIALS_OF_EPOCHS * EPOCHS if scenario.epochs else None,
        stopper=make_stopper(scenario, task.goal, job["search"]),
    )
    if isinstance(searcher, peers.WandB):
        searcher.close()
    if scenario.epochs:
        points = [k * EPOCHS for k in TRIALS if k <= FULL_TRIALS_OF_EPOCHS]
        regrets = [course.by_epoch[min(at, len(course.by_epoch)) - 1] for at in points]
    else:
        regrets = [course.by_trial[k - 1] for k in TRIALS]
    kept = {k: v for k, v in job.items() if k != "python"}
    return {**kept, "regrets": regrets, "ask_ms": 1e3 * float(np.median(course.asks)), "trials": course.trials}


def list_jobs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for scenario in SCENARIOS:
        if options.scenarios and scenario.key not in options.scenarios.split(","):
            continue
        for name in options.sets:
            for metric in options.metrics or [METRIC[name.removeprefix(SMOOTH)]]:
                for search in options.searches:
                    seeds = min(options.slow_seeds, options.seeds) if search == "optuna-gp" else options.seeds
                    for seed in range(seeds):
                        yield {
                            "scenario": scenario.key,
                            "set": name,
                            "metric": metric,
                            "search": search,
                            "seed": seed,
                            "python": options.wandb_python,
                        }


def identity(job: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(job[k] for k in ("scenario", "set", "metric", "search", "seed"))


def format_table(results: list[dict[str, Any]]) -> str:
    """Format results as Markdown: mean regret and its standard error; rank and Wilcoxon's p over the common runs."""
    from scipy.stats import rankdata, wilcoxon

    out = []
    for scenario in SCENARIOS:
        mine = [r for r in results if r["scenario"] == scenario.key]
        if not mine:
            continue
        budgets = [k for k in TRIALS if not scenario.epochs or k <= FULL_TRIALS_OF_EPOCHS]
        by = {s: {(*identity(r)[1:3], r["seed"]): r for r in mine if r["search"] == s} for s in SEARCHES}
        by = {s: runs for s, runs in by.items() if runs}
        shared = sorted(set.intersection(*(set(runs) for runs in by.values())))
        last = {s: np.array([runs[k]["regrets"][-1] for k in shared]) for s, runs in by.items()}
        rows = [rankdata(row) for row in zip(*last.values(), strict=True)]
        ranks = np.mean(rows, axis=0) if shared else [float("nan")] * len(by)
        out += ["", f"**{scenario.title}**", ""]
        heads = [f"at {k}" for k in budgets]
        heads += ["mean rank", "ours is better, p", "trials", "ask, ms", "runs"]
        out += [f"| search | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for s, rank in zip(by, ranks, strict=False):
            regrets = np.array([r["regrets"] for r in by[s].values()])
            cells = [
                f"{m:.3f} ± {e:.3f}" for m, e in zip(regrets.mean(0), regrets.std(0) / len(regrets) ** 0.5, strict=True)
            ]
            p = ""
            if s != "ours" and "ours" in by:
                keys = sorted(set(by[s]) & set(by["ours"]))
                a = np.array([by["ours"][k]["regrets"][-1] for k in keys])
                b = np.array([by[s][k]["regrets"][-1] for k in keys])
                p = f"{wilcoxon(a, b, alternative='less').pvalue:.1e}" if (a != b).any() else "equal"
            trials = np.mean([r["trials"] for r in by[s].values()])
            ask = np.median([r["ask_ms"] for r in by[s].values()])
            cells += [f"{rank:.2f}", p, f"{trials:.0f}", f"{ask:.0f}", str(len(regrets))]
            out.append(f"| {s} | {' | '.join(cells)} |")
    return "\n".join(out)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="two data sets, three seeds, no slow peers")
    add("--seeds", type=int, default=20)
    add("--slow-seeds", type=int, default=5, help="seeds of optuna-gp")
    add("--searches", default="", help=f"default: {','.join(SEARCHES)}")
    add("--scenarios", default="", help=f"default: {','.join(s.key for s in SCENARIOS)}")
    add("--sets", default="all", help="development, held-out, all or names")
    add("--smooth", action="store_true", help="evaluate configurations between the stored ones as well")
    add("--metrics", default="", help="accuracy, loss or both; default: one per data set")
    add("--wandb-python", default=os.environ.get("WANDB_ENGINE_PYTHON"))
    add("--jobs", type=int, default=1)
    add("--save", type=Path, help="a .jsonl file of results: read first, then added to")
    options = parser.parse_args()
    named = {"development": DEVELOPMENT, "held-out": HELD_OUT, "all": DEVELOPMENT + HELD_OUT}
    options.sets = named.get(options.sets, options.sets.split(","))
    if options.smooth:
        options.sets = [SMOOTH + name for name in options.sets]
    options.metrics = [m for m in options.metrics.split(",") if m]
    options.searches = options.searches.split(",") if options.searches else list(SEARCHES)
    if options.quick:
        options.seeds, options.sets = 3, ("digits_noisy", "next_pixel")
        options.searches = [s for s in options.searches if s != "optuna-gp"]
    if not options.wandb_python and "wandb" in options.searches:
        print("W&B's engine is left out: no --wandb-python", file=sys.stderr)
        options.searches.remove("wandb")
    return options


def main() -> None:
    options = parse_options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results: list[dict[str, Any]] = []
    if options.save and options.save.exists():
        results = [json.loads(line) for line in options.save.read_text().splitlines()]
    done = {identity(r) for r in results}
    todo = [job for job in list_jobs(options) if identity(job) not in done]
    started = time.perf_counter()
    with get_context("spawn").Pool(options.jobs) as pool:
        for count, result in enumerate(pool.imap_unordered(run_job, todo), 1):
            results.append(result)
            if options.save:
                with options.save.open("a") as file:
                    file.write(json.dumps(result) + "\n")
            left = (time.perf_counter() - started) / count * (len(todo) - count)
            note = f"\r{count} of {len(todo)} runs, about {left / 60:.0f} min left "
            print(note, end="", file=sys.stderr, flush=True)
    wanted = {identity(job) for job in list_jobs(options)}
    print(format_table([r for r in results if identity(r) in wanted]))


if __name__ == "__main__":
    main()
