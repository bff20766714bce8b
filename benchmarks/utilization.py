"""Measure how busy 8 slots are with 100 trials of heavy-tailed durations, compared with Hydra's basic sweeper.

Both run the same durations in the same order under ``submitit_local``; the basic sweeper in batches of 8. A slot is
busy while a task runs, not while processes start, an agent asks, or a batch waits for its slowest trial. The trials
sleep, so a slot needs no core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

APP = Path(__file__).parent / "sleeping" / "app.py"
SLOTS = 8


@dataclass(frozen=True)
class Busy:
    """The busy part of the slots' time: until the last trial began, and until the end."""

    filling: float
    whole: float
    makespan_s: float


def draw_durations(count: int, mean_s: float, seed: int) -> list[float]:
    """Draw from a Pareto distribution with exponent 1.5, cut at ten times its mean and scaled to ``mean_s``."""
    rng = random.Random(seed)
    drawn = [min(rng.paretovariate(1.5), 30.0) for _ in range(count)]
    return [round(value * mean_s * count / sum(drawn), 3) for value in drawn]


def run_sweep(place: Path, seconds: list[float], *overrides: str) -> list[dict[str, float]]:
    spans = place / "spans"
    spans.mkdir(parents=True)
    choices = f"seconds={','.join(map(str, seconds))}"
    common = ["-m", "hydra/launcher=submitit_local", f"hydra.sweep.dir={place / 'sweep'}", choices]
    subprocess.run(
        [sys.executable, str(APP), *common, *overrides],
        env={**os.environ, "SPANS": str(spans), "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = [json.loads(file.read_text()) for file in spans.iterdir()]
    assert sorted(span["seconds"] for span in found) == sorted(seconds)
    return found


def measure_busy(spans: list[dict[str, float]]) -> Busy:
    start, end = min(span["began"] for span in spans), max(span["ended"] for span in spans)
    return Busy(_part(spans, start, max(span["began"] for span in spans)), _part(spans, start, end), end - start)


def _part(spans: list[dict[str, float]], start: float, end: float) -> float:
    worked = sum(max(0.0, min(span["ended"], end) - span["began"]) for span in spans)
    return worked / (SLOTS * (end - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--mean-s", type=float, default=5.0)
    options = parser.parse_args()
    seconds = draw_durations(options.trials, options.mean_s, seed=0)
    print(f"{len(seconds)} trials, {min(seconds)} to {max(seconds)} s, {sum(seconds):.0f} s in all, {SLOTS} slots")
    ways = {
        "wandbsweep": ["hydra/sweeper=wandbsweep", f"hydra.sweeper.agents={SLOTS}"],
        "Hydra's basic sweeper": ["hydra/sweeper=basic", f"hydra.sweeper.max_batch_size={SLOTS}"],
    }
    print("| | busy while there are trials to begin | busy to the end | makespan |\n|---|---|---|---|")
    for name, overrides in ways.items():
        with tempfile.TemporaryDirectory() as place:
            found = measure_busy(run_sweep(Path(place), seconds, *overrides))
        print(f"| {name} | {found.filling:.1%} | {found.whole:.1%} | {found.makespan_s:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
