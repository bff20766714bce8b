"""Compares stored runs pairwise, and says how sure that is.

Two searches are compared on the runs that both have: same task, seed, workers and protocol. Two tests answer two
questions. *runs*: Wilcoxon's signed-rank test over all pairs, for *these* tasks. *tasks*: a t test over the mean
difference of each task, so that seeds of one task count as one, for *other* tasks of the kind; it needs three tasks.
All tasks count the same, whatever the number of seeds. Means hide the tail that users meet, so the mean of the worst
tenth of the runs is given as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.search.runs import EPOCH_BUDGETS, Run
from benchmarks.search.simulation import read_at

Key = tuple[str, int]
"""Task and seed."""


@dataclass(frozen=True)
class Pairing:
    """Two searches on the same runs; regrets are to be minimised."""

    mean_a: float
    mean_b: float
    difference: float
    """a less b: negative, a is better."""
    error: float
    """Standard error of the difference over tasks; NaN for one task."""
    worst_a: float
    worst_b: float
    p_runs: float
    """Wilcoxon's, two-sided."""
    p_tasks: float
    """The t test's over tasks, two-sided; NaN below three tasks."""
    runs: int
    tasks: int


def compute_worst_tenth(regrets: np.ndarray) -> float:
    """Return the mean of the worst tenth, of one run at least."""
    count = max(1, round(len(regrets) / 10))
    return float(np.sort(regrets)[-count:].mean())


def pair(a: dict[Key, float], b: dict[Key, float]) -> Pairing | None:
    """Compare two searches on the keys that both have; None: there are none."""
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return None
    tasks: dict[str, list[int]] = defaultdict(list)
    for at, (task, _) in enumerate(shared):
        tasks[task].append(at)
    x, y = np.array([a[key] for key in shared]), np.array([b[key] for key in shared])
    by_task = np.array([[x[rows].mean(), y[rows].mean()] for rows in tasks.values()])
    gaps = by_task[:, 0] - by_task[:, 1]
    differ = bool((x != y).any())
    spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else float("nan")
    return Pairing(
        mean_a=float(by_task[:, 0].mean()),
        mean_b=float(by_task[:, 1].mean()),
        difference=float(gaps.mean()),
        error=spread / len(gaps) ** 0.5,
        worst_a=compute_worst_tenth(x),
        worst_b=compute_worst_tenth(y),
        p_runs=float(stats.wilcoxon(x, y).pvalue) if differ else 1.0,
        p_tasks=float("nan") if len(gaps) < 3 else float(stats.ttest_1samp(gaps, 0).pvalue) if spread > 0 else 1.0,
        runs=len(shared),
        tasks=len(tasks),
    )


def read_regret(run: Run, budget: int, *, seen: bool = False) -> float | None:
    """Return a run's regret after `budget` trials, or the epochs of as many; None: it was not that long.

    Args:
        run: The run.
        budget: The number of trials.
        seen: With a protocol of epochs, the best value reported so far instead of the incumbent's value at its end.
    """
    if budget > run["trials"]:
        return None
    at = budget if run["protocol"] == "trials" else budget * run["epochs"]
    steps = [(int(when), float(regret)) for when, regret in run["seen" if seen else "steps"]]
    return read_at(steps, at)


def select(runs: Iterable[Run], search: str, budget: int, *, seen: bool = False) -> dict[Key, float]:
    found = {}
    for run in runs:
        if run["search"] == search and (regret := read_regret(run, budget, seen=seen)) is not None:
            found[run["task"], run["seed"]] = regret
    return found


def list_scenarios(runs: Iterable[Run]) -> list[tuple[str, int]]:
    return sorted({(run["protocol"], run["workers"]) for run in runs}, key=lambda s: (s[0] != "trials", s))


def name_scenario(protocol: str, workers: int) -> str:
    kind = {
        "trials": "whole trials",
        "epochs": "the epochs of as many whole trials, nothing stopped",
        "epochs-hyperband": "the epochs of as many whole trials, Hyperband (3, 3)",
        "epochs-auto": "the epochs of as many whole trials, `type: auto`",
    }[protocol]
    return f"{kind}, {workers} worker{'s' * (workers > 1)}"


def _split(runs: list[Run], protocol: str, workers: int) -> list[Run]:
    # The one-line rule does not depend on workers or on a stopping rule.
    return [
        run
        for run in runs
        if (run["protocol"], run["workers"]) == (protocol, workers)
        or (run["search"] == "i-epoch" and protocol.startswith("epochs"))
    ]


def _budgets(protocol: str, wanted: tuple[int, ...]) -> list[int]:
    return [k for k in wanted if protocol == "trials" or k in EPOCH_BUDGETS]


def format_comparison(runs: list[Run], a: str, b: str, budgets: tuple[int, ...], *, seen: bool = False) -> str:
    """Format `a` less `b` as Markdown: a table for each scenario and budget, a row for each family and for all."""
    out = []
    for protocol, workers in list_scenarios([run for run in runs if run["search"] == a]):
        mine = _split(runs, protocol, workers)
        for budget in _budgets(protocol, budgets):
            left, right = select(mine, a, budget, seen=seen), select(mine, b, budget, seen=seen)
            rows = []
            for family in ["all", *sorted({task.split("/")[0] for task, _ in left.keys() & right.keys()})]:
                of_family = [
                    {key: v for key, v in side.items() if family in ("all", key[0].split("/")[0])}
                    for side in (left, right)
                ]
                if found := pair(*of_family):
                    rows.append(f"| {family} | {_format_pairing(found)} |")
            if rows:
                heads = f"family | {a} | {b} | difference | worst tenth | p, runs | p, tasks | runs (tasks)"
                out += ["", f"**{budget}: {name_scenario(protocol, workers)}**", "", f"| {heads} |", "|---" * 8 + "|"]
                out += rows
    return "\n".join(out)


def _format_pairing(found: Pairing) -> str:
    cells: list[Any] = [
        f"{found.mean_a:.3f}",
        f"{found.mean_b:.3f}",
        f"{found.difference:+.3f} ± {found.error:.3f}",
        f"{found.worst_a:.3f}, {found.worst_b:.3f}",
        f"{found.p_runs:.1g}",
        "" if np.isnan(found.p_tasks) else f"{found.p_tasks:.1g}",
        f"{found.runs} ({found.tasks})",
    ]
    return " | ".join(cells)


def format_means(runs: list[Run], budgets: tuple[int, ...], *, seen: bool = False) -> str:
    """Format each search's mean regret as Markdown, a table for each scenario, over the tasks that it has runs of."""
    out = []
    for protocol, workers in list_scenarios(runs):
        mine = _split(runs, protocol, workers)
        columns = _budgets(protocol, budgets)
        heads = [f"at {k}" for k in columns] + ["worst tenth", "ask, ms", "runs (tasks)"]
        out += ["", f"**{name_scenario(protocol, workers)}**", "", f"| search | {' | '.join(heads)} |"]
        out += ["|---" * (len(heads) + 1) + "|"]
        for search in sorted({run["search"] for run in mine}):
            cells, last = [], np.zeros(0)
            for k in columns:
                found = select(mine, search, k, seen=seen)
                tasks: dict[str, list[float]] = defaultdict(list)
                for (task, _), regret in found.items():
                    tasks[task].append(regret)
                cells.append(f"{np.mean([np.mean(v) for v in tasks.values()]):.3f}" if tasks else "")
                last = np.array(list(found.values())) if found else last
            own = [run for run in mine if run["search"] == search]
            ask = np.median([run["ask_ms"] for run in own])
            cells += [f"{compute_worst_tenth(last):.3f}" if len(last) else "", f"{ask:.0f}"]
            cells.append(f"{len(own)} ({len({run['task'] for run in own})})")
            out.append(f"| {search} | {' | '.join(cells)} |")
    return "\n".join(out)
