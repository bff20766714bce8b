"""Measure the cost of isolation: the same short training in the agent, in a forked process, and in a new one.

Prints a Markdown table. The three take turns in one run, so that other load on the machine affects them alike.
``--trials`` shortens it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APP = [sys.executable, str(ROOT / "benchmarks/isolated/app.py")]
SHORT = ["logger=none", "trainer.max_epochs=2", "model=mlp", "data.batch_size=128"]
ROUNDS = 4
WARM_UP = 3  # a fork server learns from its first trials what to import

Span = tuple[float, float, float]
"""The times at which a task function began and ended, and its agent's memory in bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help=f"trials in each of {ROUNDS} rounds (default: 50)")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    gaps: dict[str, list[float]] = {"none": [], "process": []}
    lasted: dict[str, list[float]] = {"none": [], "process": []}
    fresh: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for turn in range(ROUNDS):
            for isolation in gaps:
                spans = run_sweep(place / f"{isolation}-{turn}", isolation, options.trials)[WARM_UP:]
                gaps[isolation] += [after[0] - before[1] for before, after in itertools.pairwise(spans)]
                lasted[isolation] += [end - began for began, end, _ in spans]
            fresh.append(run_alone(place / f"fresh-{turn}"))
        sizes = [size for *_, size in run_sweep(place / "long", "process", ROUNDS * options.trials)]
    print("| | in the agent | forked | a fresh process |\n|---|---|---|---|")
    between = [statistics.median(gaps[isolation]) for isolation in gaps]
    task = [statistics.median(lasted[isolation]) for isolation in lasted]
    _print_row("end of a trial to the next task function, median", *(f"{seconds:.3f} s" for seconds in between), "")
    whole = [a + b for a, b in zip(between, task, strict=True)]
    _print_row("the task function itself, median", *(f"{seconds:.3f} s" for seconds in task), "")
    _print_row("a trial", *(f"{seconds:.2f} s" for seconds in whole), f"{statistics.median(fresh):.2f} s")
    _print_row("times a trial in the agent", *(f"{s / whole[0]:.1f}" for s in (*whole, statistics.median(fresh))))
    first, last = sizes[0], sizes[-1]
    print(f"\nMemory of an agent that forks: {first / 2**20:.0f} MiB in its first trial, ", end="")
    print(f"{last / 2**20:.0f} MiB in its {len(sizes)}th.")


def run_sweep(place: Path, isolation: str, trials: int) -> list[Span]:
    times = place.with_suffix(".txt")
    search = ["sweep=random", f"++sweep.run_cap={trials}", "optimizer.weight_decay=interval(0.0,0.1)"]
    run = [f"+times={times}", f"hydra.sweep.dir={place}", f"hydra.sweeper.isolation={isolation}"]
    # Every trial is the same amount of work.
    fixed = ["optimizer.lr=0.003", "model.dropout=0.1", *SHORT]
    _run([*APP, "-m", "hydra/sweeper=wandbsweep", *search, *fixed, *run])
    rows = (line.split() for line in times.read_text().splitlines())
    return [(float(first), float(second), float(third)) for first, second, third in rows]


def run_alone(place: Path) -> float:
    began = time.monotonic()
    _run([*APP, *SHORT, f"+times={place.with_suffix('.txt')}", f"hydra.run.dir={place}"])
    return time.monotonic() - began


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _print_row(what: str, *measured: str) -> None:
    print(f"| {what} | {' | '.join(measured)} |", flush=True)


if __name__ == "__main__":
    main()
