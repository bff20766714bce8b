"""Measure the framework's overhead: the start, the time between trials, the table.

Prints a Markdown table. Everything is measured in one run on one machine, in new processes, so that the numbers can
be compared with each other. ``--trials`` shortens it.
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
TRAIN = [sys.executable, str(ROOT / "train.py")]
SWEEP = ["-m", "hydra/sweeper=wandbsweep"]
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="trials of the empty task (default: 200)")
    parser.add_argument("--digits", type=int, default=50, help="trials of the digits sweep (default: 50)")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("WANDB_MODE", "offline")
    print("| what | measured | goal |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _print_row("process start to the launcher, median of 5", f"{time_launcher(place):.2f} s", "1.0 s")
        gaps = measure_gaps(place / "empty", options.trials)
        _print_row(
            f"end of a trial to the next task function, median of {len(gaps)}",
            f"{statistics.median(gaps):.3f} s",
            "0.10 s",
        )
        _print_row("the same, median of the last 20", f"{statistics.median(gaps[-20:]):.3f} s", "0.10 s")
        _print_row(
            f"`wandbsweep table` of these {options.trials} trials, median of 5",
            f"{time_table(place / 'empty'):.2f} s",
            "0.6 s",
        )
        sweep, single = time_digits(place / "digits", options.digits)
        per_trial = sweep / options.digits
        _print_row(f"a digits sweep of {options.digits} trials (mlp, 5 epochs) in one agent", f"{sweep:.1f} s", "")
        _print_row("one such trial: in the agent / as a new process", f"{per_trial:.2f} s / {single:.2f} s", "")
        _print_row("the agent is faster by a factor of", f"{single / per_trial:.1f}", "")


def time_launcher(place: Path) -> float:
    """Seconds from starting ``python train.py -m …`` until the launcher starts; the median."""
    return statistics.median(_time_launcher(place / f"reach-{k}") for k in range(REPEATS))


def _time_launcher(place: Path) -> float:
    began = time.perf_counter()
    command = [*TRAIN, *SWEEP, "logger=none", f"hydra.sweep.dir={place}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Launching 1 jobs" in line:
                seconds = time.perf_counter() - began
                process.kill()
                return seconds
    raise RuntimeError(f"{command} did not reach the launcher")


def measure_gaps(place: Path, trials: int) -> list[float]:
    """Seconds between the end of each trial and the start of the next one's task function, in one agent."""
    times = place.with_suffix(".txt")
    app = [sys.executable, str(ROOT / "benchmarks/empty/app.py"), *SWEEP]
    space = [
        "optimizer=adamw,sgd",
        "optimizer.lr=tag(log,interval(1e-5,1e-1))",
        "optimizer.weight_decay=interval(0.0,0.1)",
    ]
    method = ["+hydra.sweeper.sweep.method=random", f"+hydra.sweeper.sweep.run_cap={trials}"]
    _run([*app, *space, *method, f"times={times}", f"hydra.sweep.dir={place}"])
    spans = [tuple(map(float, line.split())) for line in times.read_text().splitlines()]
    return [after[0] - before[1] for before, after in itertools.pairwise(spans)]


def time_table(sweep: Path) -> float:
    return statistics.median(
        _run([sys.executable, "-m", "wandbsweep.cli", "table", str(sweep)]) for _ in range(REPEATS)
    )


def time_digits(place: Path, trials: int) -> tuple[float, float]:
    """Seconds of a whole sweep in one agent, start-up included, and of one of its trials as a new process."""
    short = ["logger=none", "trainer.max_epochs=5", "model=mlp"]
    sweep = _run([*TRAIN, *SWEEP, "sweep=random", *short, f"++sweep.run_cap={trials}", f"hydra.sweep.dir={place}"])
    single = statistics.median(
        _run([*TRAIN, *short, f"hydra.run.dir={place.with_name(f'single-{k}')}"]) for k in range(REPEATS)
    )
    return sweep, single


def _run(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def _print_row(what: str, measured: str, goal: str) -> None:
    print(f"| {what} | {measured} | {goal} |", flush=True)


if __name__ == "__main__":
    main()
