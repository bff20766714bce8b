"""Runs that are to be made, and a file of those that were, to which new ones are added."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

Protocol = Literal["trials", "epochs", "epochs-hyperband", "epochs-auto", "epochs-thaw"]
PROTOCOLS: tuple[Protocol, ...] = ("trials", "epochs", "epochs-hyperband", "epochs-auto", "epochs-thaw")
PROBING = "i-epoch"
"""The one-line rule, which is a search and a stopping rule in one."""
STOPPERS: dict[str, dict[str, Any]] = {
    "epochs-hyperband": {"type": "hyperband", "min_iter": 3, "eta": 3},
    "epochs-auto": {"type": "auto"},
    "epochs-thaw": {"type": "thaw"},
}
EPOCHS_OF = 30
"""With the protocols `epochs…` a sweep has the epochs of this many whole trials."""
EPOCH_BUDGETS = (10, 20, 30)


@dataclass(frozen=True)
class Job:
    """One seed of one search on one task."""

    search: str
    task: str
    seed: int
    workers: int
    protocol: Protocol
    trials: int
    """How many trials it has, or the epochs of how many."""
    label: str = ""
    """What the search is stored as; empty: its name."""

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.label or self.search, self.task, self.seed, self.workers, self.protocol)


Run = dict[str, Any]
"""A job's fields and its results: `steps` (trials, or epochs, and the regret from then on), `epochs` of a whole trial,
`ask_ms`, the median, `ask_ms_max`, `started` trials; with a protocol of epochs also `seen`, steps of the best value
that a trial had reached by then."""


def identify(run: Run) -> tuple[Any, ...]:
    return (run["search"], run["task"], run["seed"], run["workers"], run["protocol"])


def make_run(job: Job) -> Run:
    """Carry out a job; the result of an error has `error` in place of results."""
    from benchmarks.search import searchers
    from benchmarks.search.simulation import auto, hyperband, probe_then_finish, simulate, thaw
    from benchmarks.search.tasks import load_task

    found: Run = {k: v for k, v in asdict(job).items() if k != "label"} | {"search": job.label or job.search}
    try:
        task = load_task(job.task)
        limit = None if job.protocol == "trials" else job.trials * task.epochs
        if job.search == PROBING:
            courses = [probe_then_finish(task, seed=job.seed, epochs=k * task.epochs) for k in EPOCH_BUDGETS]
            steps = [course.final[0] for course in courses]
            return found | {"steps": steps, "seen": steps, "epochs": task.epochs, "ask_ms": 0, "ask_ms_max": 0}
        given = STOPPERS.get(job.protocol)
        searcher = searchers.make(job.search, task, job.seed, trials=job.trials, early_terminate=given)
        stoppers = {
            "epochs-hyperband": lambda: hyperband(task.goal),
            "epochs-auto": lambda: auto(task.goal, learns=job.search == "ours"),
            "epochs-thaw": lambda: thaw(
                replace(task.spec(given), method="bayes" if job.search == "ours" else "random")
            ),
        }
        stopper = stoppers[job.protocol]() if given else None
        trials = None if limit else job.trials
        course = simulate(
            task,
            searcher,
            workers=job.workers,
            seed=job.seed,
            trials=trials,
            epochs=limit,
            stopper=stopper,
            freezes=job.protocol == "epochs-thaw",
        )
    except Exception as error:  # another run may do well, and hours of runs must not be lost
        searchers.discard(job.search)
        return found | {"error": f"{type(error).__name__}: {error}"}
    asks = 1e3 * np.array(course.asks)
    timing = {"ask_ms": round(float(np.median(asks)), 1), "ask_ms_max": round(float(asks.max()), 1)}
    found |= {"steps": course.final if limit else course.by_trial, "epochs": task.epochs, **timing}
    return found | {"started": course.trials} | ({"seen": course.by_epoch} if limit else {})


def read_runs(*paths: Path) -> list[Run]:
    """Read runs, each once: the one with most trials. A last line that was cut off by an interruption is left out."""
    found: dict[tuple[Any, ...], Run] = {}
    for path in paths:
        for run in _parse(path)[0]:
            known = found.get(identify(run))
            if known is None or known["trials"] < run["trials"]:
                found[identify(run)] = run
    return list(found.values())


def _parse(path: Path) -> tuple[list[Run], bool]:
    """Return the runs of a file's whole lines, and whether nothing is cut off after them."""
    lines: list[str] = []
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        try:
            lines.extend(file)
        except EOFError:  # one of gzip's members is cut off
            lines.append("")
    whole = all(line.endswith("\n") for line in lines)
    return [json.loads(line) for line in lines if line.endswith("\n")], whole


def mend(path: Path) -> None:
    """Remove what an interruption has cut off, after which nothing could be added."""
    made, whole = _parse(path)
    if whole:
        return
    partial = path.with_name(f"mended-{path.name}")
    partial.unlink(missing_ok=True)
    for run in made:
        append_run(partial, run)
    partial.replace(path)


def append_run(path: Path, run: Run) -> None:
    """Add a run as one write, so that an interruption leaves whole lines."""
    line = (json.dumps(run, separators=(",", ":")) + "\n").encode()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.open(packed, "wb") as file:
            file.write(line)
        line = packed.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as out:
        out.write(line)


def list_missing(jobs: Iterable[Job], runs: Iterable[Run]) -> list[Job]:
    """Return the jobs that no stored run answers; one with more trials answers fewer."""
    done = {identify(run): run["trials"] for run in runs}
    return [job for job in jobs if done.get(job.identity, 0) < job.trials]


def carry_out(jobs: list[Job], out: Path, *, processes: int) -> int:
    """Make the runs that `out` lacks and add them; return how many failed. Their errors are printed, not stored."""
    if out.exists():
        mend(out)
    todo = list_missing(jobs, read_runs(out) if out.exists() else [])
    started, failed = time.perf_counter(), 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with get_context("spawn").Pool(processes) as pool:
        for count, run in enumerate(pool.imap_unordered(make_run, todo), 1):
            if "error" in run:
                failed += 1
                print(f"\n{'/'.join(map(str, identify(run)))}: {run['error']}", file=sys.stderr)
            else:
                append_run(out, run)
            left = (time.perf_counter() - started) / count * (len(todo) - count)
            note = f"\r{count} of {len(todo)} runs, about {left / 60:.0f} min left "
            print(note, end="" if sys.stderr.isatty() or count % 20 else "\n", file=sys.stderr, flush=True)
    return failed
