"""Bayesian search that has earlier sweeps (`prior.sweeps`): of related tasks, of misleading ones, of the same task.

    python -m benchmarks.search.transfer run --variants nothing,weighed --out runs.jsonl
    python -m benchmarks.search.transfer table --runs runs.jsonl /other/runs.jsonl

Each run searches one development task of 20 trials with up to three earlier sweeps of 50 trials each:

related     sweeps of other tasks of the same family, whose parameters may lack some, or have other ranges
misleading  the same sweeps, with the values' sign changed
shuffled    the same sweeps, with the values in random order
same        sweeps of the task itself

Half of the earlier sweeps are random searches and half Bayesian ones. Held-out tasks take no part, on either side.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.searchers import Random
from benchmarks.search.simulation import Searcher, read_at, simulate
from benchmarks.search.tasks import list_tasks, load_task
from benchmarks.search.tasks.base import Task
from wandbsweep.search.make import make_search
from wandbsweep.spec.load import load_sweep
from wandbsweep.trial import TrialRecord

EARLIER, TRIALS, BUDGETS = 50, 20, (1, 3, 5, 10, 20)
FAMILIES = ("taskset", "fcnet", "hpobench", "own", "smooth")
SCENARIOS = ("related", "misleading", "shuffled", "same")
Sweep = Sequence[TrialRecord]


class Recorder:
    """A search whose trials are kept."""

    elsewhere = 0.0

    def __init__(self, inner: Searcher) -> None:
        self.inner, self.trials = inner, {}

    def ask(self, records: list[TrialRecord]) -> Any:
        return self.inner.ask(records)

    def end(self, record: TrialRecord) -> None:
        self.trials[record.number] = record


class Ours:
    """`method: bayes` with earlier sweeps."""

    elsewhere = 0.0

    def __init__(self, task: Task, seed: int, earlier: Sequence[Sweep], variant: str) -> None:
        self.pooled: list[TrialRecord] = []
        given = task.spec().dump()
        if variant == "pooled":
            self.pooled = [t for sweep in earlier for t in sweep if t.params.keys() >= task.space.keys()]
            earlier = []
        if earlier and variant != "nothing":
            given["prior"] = {"sweeps": ["earlier"]}
            self.search = make_search(load_sweep(given), seed=seed, known=earlier)
        else:
            self.search = make_search(load_sweep(given), seed=seed)

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]:
        number = len(records)
        return self.search.draw(number) or self.search.propose(number, [*self.pooled, *records])

    def end(self, record: TrialRecord) -> None:
        pass


def make_earlier(folder: Path, name: str, kind: str, seed: int) -> list[TrialRecord]:
    """Return the trials of a sweep of one task, from `folder` if they are there; `kind` is random or bayes."""
    path = folder / f"{name.replace('/', '_')}-{kind}-{seed}.pkl"
    if not path.exists():
        task = load_task(name)
        recorder = Recorder(Random(task, seed) if kind == "random" else Ours(task, seed, [], "nothing"))
        simulate(task, recorder, workers=1, seed=seed, trials=EARLIER)
        folder.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps([recorder.trials[number] for number in sorted(recorder.trials)]))
    found: list[TrialRecord] = pickle.loads(path.read_bytes())
    return found


def list_earlier(folder: Path, name: str, scenario: str, seed: int) -> list[Sweep]:
    """Return the earlier sweeps of a run, with their values as this task's: lower or higher is better."""
    rng = np.random.default_rng([seed, 77])
    own = load_task(name)
    if scenario == "same":
        names = [name] * 3
    else:
        others = [other for other in list_tasks("dev", (own.family,)) if other != name]
        names = [str(chosen) for chosen in rng.permutation(others)[:3]]
    sweeps = []
    for k, other in enumerate(names):
        trials = make_earlier(folder, other, "random" if (seed + k) % 2 else "bayes", 1000 + 10 * seed + k)
        flip = (load_task(other).goal != own.goal) != (scenario == "misleading")
        values = [t.value for t in trials]
        order = rng.permutation(len(trials)) if scenario == "shuffled" else range(len(trials))
        reports = [dict(t.reports) for t in trials]
        made = []
        for index, trial in enumerate(trials):
            value, curve = values[order[index]], reports[order[index]]
            sign = -1.0 if flip else 1.0
            curve = {step: sign * v for step, v in curve.items()}
            value = None if value is None else sign * value
            if flip and value is not None and len(curve) > 1:  # the best of the changed curve is another point
                curve, value = {0: value}, value
            made.append(TrialRecord(-1 - index, trial.state, trial.params, curve, value))
        sweeps.append([t for t in made if t.value is not None and t.state in ("finished", "stopped")])
    return sweeps


def run(variants: Sequence[str], scenarios: Sequence[str], tasks: Sequence[str], seeds: int, out: Path) -> None:
    done = {identify(found) for found in read(out)} if out.exists() else set()
    with out.open("a") as file:
        for seed in range(seeds):
            for name in tasks:
                for variant in variants:
                    for scenario in scenarios if variant.split("@")[0] != "nothing" else ("related",):
                        if (variant, scenario, name, seed) in done:
                            continue
                        task = load_task(name)
                        ours = Ours(
                            task,
                            seed,
                            list_earlier(out.parent / "earlier", name, scenario, seed),
                            variant.split("@")[0],
                        )
                        course = simulate(task, ours, workers=1, seed=seed, trials=TRIALS)
                        found = {"variant": variant, "scenario": scenario, "task": name, "seed": seed}
                        found |= {"steps": course.by_trial, "ask_ms": round(1000 * float(np.median(course.asks)), 1)}
                        file.write(json.dumps(found) + "\n")
                        file.flush()


def identify(run: dict[str, Any]) -> tuple[str, str, str, int]:
    return run["variant"], run["scenario"], run["task"], run["seed"]


def read(*files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def print_table(files: Sequence[Path], peers: Path | None) -> None:
    """Print the mean regret by family of tasks, and over the families."""
    runs = read(*files)
    if peers:
        pairs = {(r["task"], r["seed"]) for r in runs}
        for r in read(peers):
            is_peer = r["search"] == "optuna-gp" and r["workers"] == 1 and r["protocol"] == "trials"
            if is_peer and (r["task"], r["seed"]) in pairs and "steps" in r:
                runs.append({"variant": "optuna-gp", "scenario": "related", **r})
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for r in runs:
        groups[r["scenario"], r["variant"]][r["task"].split("/")[0]].append(r)
    print(
        "| earlier sweeps | variant | runs | " + " | ".join(f"{b}" for b in BUDGETS) + " | by family at 20 | ask ms |"
    )
    print("|" + "---|" * (len(BUDGETS) + 5))
    for (scenario, variant), families in sorted(groups.items(), key=lambda item: SCENARIOS.index(item[0][0])):
        means = {b: [np.mean([read_at(r["steps"], b) for r in rs]) for rs in families.values()] for b in BUDGETS}
        shown = " | ".join(f"{np.mean(means[b]):.3f}" for b in BUDGETS)
        parts = ", ".join(f"{f} {m:.3f}" for f, m in sorted(zip(families, means[20], strict=True)))
        times = [r["ask_ms"] for rs in families.values() for r in rs]
        total = sum(len(rs) for rs in families.values())
        print(f"| {scenario} | {variant} | {total} | {shown} | {parts} | {np.median(times):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("run")
    make.add_argument("--variants", default="nothing,weighed")
    make.add_argument("--scenarios", default=",".join(SCENARIOS))
    make.add_argument("--families", default=",".join(FAMILIES))
    make.add_argument("--seeds", type=int, default=2)
    make.add_argument("--out", type=Path, required=True)
    table = commands.add_parser("table")
    table.add_argument("--runs", type=Path, nargs="+", required=True)
    table.add_argument("--peers", type=Path, help="runs of `bench.py`, for Optuna's Gaussian process")
    options = parser.parse_args()
    if options.command == "table":
        print_table(options.runs, options.peers)
        return
    tasks = list_tasks("dev", tuple(options.families.split(",")))
    run(options.variants.split(","), options.scenarios.split(","), tasks, options.seeds, options.out)


if __name__ == "__main__":
    main()
