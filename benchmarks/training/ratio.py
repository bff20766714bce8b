"""Measure a whole trial of ``train.py`` on a CPU beside a plain PyTorch loop of the same training.

Both train scikit-learn's digits, with one thread, in turns, in one process. A trial is composed, trained by
``classifier.training.train``, and reported to a real sweep (``logger=none``). Unless the plain loop ends with the same
numbers, bit for bit, the measurement fails. Prints a Markdown table; ``--json`` also writes the numbers to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(Path(__file__).parent)]

import plain  # noqa: E402
import torch  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402

import wandbsweep  # noqa: E402
from classifier import models, schedulers  # noqa: E402
from classifier.training import train  # noqa: E402

MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "mlp": partial(models.mlp, input_shape=(1, 8, 8), classes=10, hidden=[128, 64], dropout=0.1),
    "convnet": partial(models.convnet, input_shape=(1, 8, 8), classes=10, channels=[16, 32, 64], dropout=0.1),
}
GOALS = {False: 1.25, True: 1.5}
"""The largest ratios that we accept, by whether the trial writes checkpoints."""
SWEEP = {
    "method": "grid",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "parameters": {"repeat": {"values": [0]}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="trainings of each kind (default: 9)")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of each (default: 15)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: measure(name, options.repeats, options.epochs) for name in options.models}
    print("| model | checkpoints | plain loop | trial | ratio | CPU time | goal |\n|---|---|---|---|---|---|---|")
    for name, found in results.items():
        for saved, goal in GOALS.items():
            trial, loop = found[_describe(saved)], found["plain"]
            print(
                f"| {name} | {'best and last' if saved else 'none'} | {loop['wall']:.3f} s | {trial['wall']:.3f} s "
                f"| {trial['wall'] / loop['wall']:.2f} | {trial['cpu'] / loop['cpu']:.2f} | {goal} |"
            )
        print(f"| {name} | the loop's own | {found['plain, saved']['wall']:.3f} s | | | | |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def measure(model: str, repeats: int, epochs: int) -> dict[str, dict[str, float]]:
    """Return the median seconds, ``wall`` and ``cpu``, of plain loops and trials, without and with checkpoints."""
    kinds: dict[str, Callable[[Path], float | None]] = {
        "plain": partial(run_plain, model, epochs, False),
        _describe(False): partial(run_trial, model, epochs, False),
        "plain, saved": partial(run_plain, model, epochs, True),
        _describe(True): partial(run_trial, model, epochs, True),
    }
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    losses: dict[str, float | None] = {}

    def take_turn(params: dict[str, Any]) -> float:
        turn = params["repeat"]
        for kind, run in list(kinds.items())[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory(dir=wandbsweep.current_trial().directory) as place:
                wall, cpu = time.perf_counter(), time.process_time()
                losses[kind] = run(Path(place))
                spent = time.perf_counter() - wall, time.process_time() - cpu
            if turn:  # the first warms up
                seconds[kind].append(spent)
        return 0.0

    wandbsweep.optimize(
        take_turn, {**SWEEP, "parameters": {"repeat": {"values": list(range(repeats + 1))}}}, progress=False
    )
    if (losses["trial"], losses["trial, saved"]) != (losses["plain"], losses["plain, saved"]):
        raise SystemExit(f"The trials and the plain loops end with different validation losses: {losses}")
    medians = {
        kind: [statistics.median(column) for column in zip(*spans, strict=True)] for kind, spans in seconds.items()
    }
    return {kind: dict(zip(("wall", "cpu"), values, strict=True)) for kind, values in medians.items()}


def run_trial(model: str, epochs: int, saved: bool, place: Path) -> float | None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "config",
            overrides=[
                f"model={model}",
                "logger=none",
                f"output_dir={place}",
                f"trainer.max_epochs={epochs}",
                f"trainer.enable_checkpointing={str(saved).lower()}",
            ],
        )
    return train(cfg)


def run_plain(model: str, epochs: int, saved: bool, place: Path) -> float:
    torch.manual_seed(0)
    data = plain.load_digits(val_size=300, test_size=300, split_seed=1)
    network = MODELS[model]()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    scheduler = schedulers.warmup(optimizer, 10**6, warmup_steps=20, decay="constant")
    training = plain.Training(network, optimizer, scheduler)
    save = plain.Checkpoints(place / "checkpoints", training) if saved else None
    found = plain.fit(training, data["train"], data["val"], epochs=epochs, batch_size=64, seed=0, clip=1.0, save=save)
    return save.best if save else found["val/loss"]


def _describe(saved: bool) -> str:
    return "trial, saved" if saved else "trial"


if __name__ == "__main__":
    main()
