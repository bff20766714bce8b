"""Measure whether narrowing pays: two sweeps of 25 trials with ``wandbsweep narrow`` between them, or one of 50.

The trials train the classifier on scikit-learn's digits. The space is wide, as that of a first sweep. A repetition
compares, for the same budget of 50 trials, the best validation loss of each way, and the test loss of that
configuration, trained again with three seeds that no search used. Both ways begin with the same 25 trials.

    python benchmarks/narrow.py --repetitions 10 [--method random] [--fork]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wandbsweep import open_sweep
from wandbsweep.results.analysis.evaluation import compare
from wandbsweep.results.narrowing.narrow import narrow

ROOT = Path(__file__).parents[1]
SPACE = {
    "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "optimizer.weight_decay": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1.0},
    "model.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.8},
    "data.batch_size": {"values": [32, 64, 128, 256]},
    "scheduler.warmup_steps": {"distribution": "int_uniform", "min": 0, "max": 100},
}
TRAINING = ["logger=none", "trainer.accelerator=cpu", "trainer.enable_checkpointing=false", "model=mlp"]
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--method", default="bayes", choices=["bayes", "random"])
    parser.add_argument("--fork", action="store_true", help="the second sweep learns from the first one's trials")
    parser.add_argument("-o", "--output", type=Path, help="a file for the results, a line of JSON per repetition")
    options = parser.parse_args()
    found = []
    for seed in range(options.repetitions):
        with tempfile.TemporaryDirectory() as directory:
            result = {"seed": seed, **compare_once(Path(directory), seed, options)}
        found.append(result)
        print(json.dumps(result), flush=True)
        if options.output:
            with options.output.open("a", encoding="utf-8") as out:
                out.write(json.dumps(result) + "\n")
    for measure in ("val", "test"):
        one, two = ([row[f"{way}_{measure}"] for row in found] for way in ("one", "two"))
        pair = compare(two, one) if len(found) > 1 else None
        shown = "" if pair is None else f"; narrowed minus one: {pair.difference:+.4f} (p = {pair.p:.2g})"
        wins = sum(b < a for a, b in zip(one, two, strict=True))
        print(
            f"{measure} loss, mean of {len(found)}: one sweep {statistics.fmean(one):.4f}, "
            f"two with narrow {statistics.fmean(two):.4f}, better in {wins}{shown}"
        )


def compare_once(place: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    half = options.trials // 2
    one = run_sweep(place / "one", SPACE, options.trials, seed, options)
    first = run_sweep(place / "first", SPACE, half, seed, options)
    narrowed = narrow(open_sweep(first), fork=options.fork)
    rest = narrowed.spec.dump()
    second = run_sweep(
        place / "second", rest["parameters"], options.trials - half, seed + 1000, options, rest.get("prior")
    )
    better = min((first, second), key=lambda directory: open_sweep(directory).best.value)
    return {
        "one_val": open_sweep(one).best.value,
        "two_val": open_sweep(better).best.value,
        "one_test": evaluate(one),
        "two_test": evaluate(better),
        "changes": {name: change.kind for name, change in narrowed.changes.items()},
    }


def run_sweep(
    directory: Path,
    space: dict[str, Any],
    trials: int,
    seed: int,
    options: argparse.Namespace,
    prior: dict[str, Any] | None = None,
) -> Path:
    config = {"method": options.method, "metric": {"name": "val/loss"}, "run_cap": trials, "parameters": space}
    if prior is not None:
        config |= {"method": "bayes", "prior": prior}
    names = directory.parent / f"{directory.name}-conf" / "sweep"
    names.mkdir(parents=True)
    (names / "study.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    own = [f"hydra.searchpath=[file://{names.parent}]", "sweep=study", f"hydra.sweep.dir={directory}"]
    run("train.py", "-m", "hydra/sweeper=wandbsweep", *own, f"hydra.sweeper.seed={seed}", *make_training(options))
    return directory


def make_training(options: argparse.Namespace) -> list[str]:
    return [*TRAINING, f"trainer.max_epochs={options.epochs}"]


def evaluate(directory: Path) -> float:
    printed = run("-m", "wandbsweep.cli", "evaluate", str(directory), "--seeds", str(SEEDS), "--json")
    return float(json.loads(printed)["configurations"][0]["mean"])


def run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{arguments} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
