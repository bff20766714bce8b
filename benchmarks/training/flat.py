"""Measure whether an agent stays as it was over many trials: memory, open files, threads and child processes.

Each trial trains the digits classifier for one epoch; every fourth then runs out of memory. What is measured is taken
when a trial begins, so it is what the trials before have left: of the agent, and under ``isolation=process`` of its
fork server, too. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "benchmarks" / "training" / "flat_app.py"
SHOWN = (10, 50, 100, 200)

Sample = dict[str, dict[str, float]]
"""By process (``agent``, ``fork server``): the memory of its own in MiB; how many open files, threads and children."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="how many trials each agent runs (default: 200)")
    parser.add_argument("overrides", nargs="*", help="further overrides of train.py, such as logger=csv")
    options = parser.parse_args()
    print("| isolation | process | trial | memory (MiB) | open files | threads | children |")
    print("|---|---|---|---|---|---|---|")
    for isolation in ("none", "process"):
        with tempfile.TemporaryDirectory() as folder:
            samples = run_sweep(Path(folder), isolation, options.trials, options.overrides)
        for process in samples[0]:
            for number in sorted({*(n for n in SHOWN if n < len(samples)), len(samples)}):
                values = samples[number - 1][process]
                cells = [f"{values['memory']:.1f}", *(f"{values[n]:.0f}" for n in ("files", "threads", "children"))]
                print(f"| {isolation} | {process} | {number} | {' | '.join(cells)} |", flush=True)


def run_sweep(place: Path, isolation: str, trials: int, overrides: Sequence[str] = ()) -> list[Sample]:
    """Run a sweep with one agent, and return what was measured when each trial began.

    Args:
        place: Where to write.
        isolation: ``hydra.sweeper.isolation``.
        trials: How many trials to run.
        overrides: Further overrides of ``train.py``.
    """
    samples = place / "samples.jsonl"
    search = ["sweep=random", f"++sweep.run_cap={trials}", "optimizer.weight_decay=interval(0.0,0.1)"]
    fixed = ["optimizer.lr=0.003", "model=mlp", "model.dropout=0.1", "data.batch_size=128", "trainer.max_epochs=1"]
    run = [f"+samples={samples}", f"hydra.sweep.dir={place / 'sweep'}", f"hydra.sweeper.isolation={isolation}"]
    command = [sys.executable, str(APP), "-m", "hydra/sweeper=wandbsweep", "logger=none", *search, *fixed, *run]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment.setdefault("OMP_NUM_THREADS", "1")
    done = subprocess.run([*command, *overrides], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The sweep failed:\n{done.stdout}\n{done.stderr}")
    return [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
