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
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(Path(__file__).parent)]

import plain  # noqa: E402
import torch  # noqa: E402
from hydra import initialize_config_dir  # noqa: E402
from hydra.core.config_loader import ConfigLoader  # noqa: E402
from hydra.core.global_hydra import GlobalHydra  # noqa: E402
from hydra.types import RunMode  # noqa: E402
from omegaconf import open_dict  # noqa: E402

import wandbsweep  # noqa: E402
from classifier import models, schedulers  # noqa: E402
from classifier.training import train  # noqa: E402
from wandbsweep.bridge.hydra_private import make_loader  # noqa: E402

MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "mlp": partial(models.mlp, input_shape=(1, 8, 8), classes=10, hidden=[128, 64], dropout=0.1),
    "convnet": partial(models.convnet, input_shape=(1, 8, 8), classes=10, channels=[16, 32, 64], dropout=0.1),
}
ROWS = (
    ("trial", "loop", "none", "1.25"),
    ("trial, saved", "loop", "best and last", "1.5"),
    ("trial, saved", "loop, saved", "best and last, both", ""),
    ("trial", "bare loop", "none", ""),
)
"""What is compared: a trial, a loop, whose checkpoints, and the largest ratio that we accept."""
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
    print("| model | checkpoints | beside | trial | loop | ratio | of CPU time | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        for trial, loop, checkpoints, goal in ROWS:
            ours, theirs = found[trial], found[loop]
            ratio, cpu = (f"{ours[clock] / theirs[clock]:.2f}" for clock in ("wall", "cpu"))
            seconds = f"{ours['wall']:.3f} s | {theirs['wall']:.3f} s"
            print(f"| {name} | {checkpoints} | {loop} | {seconds} | {ratio} | {cpu} | {goal} |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def measure(model: str, repeats: int, epochs: int) -> dict[str, dict[str, float]]:
    """Return the median seconds, ``wall`` and ``cpu``, of plain loops and trials, without and with checkpoints."""
    kinds: dict[str, Callable[[Path], float | None]] = {
        "loop": partial(run_plain, model, epochs),
        "trial": partial(run_trial, model, epochs, False),
        "bare loop": partial(run_plain, model, epochs, loader=False),
        "trial, saved": partial(run_trial, model, epochs, True),
        "loop, saved": partial(run_plain, model, epochs, saved=True),
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
    if not (
        losses["trial"] == losses["loop"] == losses["bare loop"] and losses["trial, saved"] == losses["loop, saved"]
    ):
        raise SystemExit(f"The trials and the plain loops end with different validation losses: {losses}")
    medians = {
        kind: [statistics.median(column) for column in zip(*spans, strict=True)] for kind, spans in seconds.items()
    }
    return {kind: dict(zip(("wall", "cpu"), values, strict=True)) for kind, values in medians.items()}


def run_trial(model: str, epochs: int, saved: bool, place: Path) -> float | None:
    overrides = [
        f"model={model}",
        "logger=none",
        f"output_dir={place}",
        f"trainer.max_epochs={epochs}",
        f"trainer.enable_checkpointing={str(saved).lower()}",
    ]
    cfg = open_loader().load_configuration("config", overrides, RunMode.RUN)
    with open_dict(cfg):
        del cfg["hydra"]
    return train(cfg)


@cache
def open_loader() -> ConfigLoader:
    """Return what composes the trials of an agent: it reads each file once."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return make_loader(GlobalHydra.instance().config_loader().get_search_path())


def run_plain(model: str, epochs: int, place: Path, *, saved: bool = False, loader: bool = True) -> float:
    # As in a process without Lightning, which has torch look for GPUs in a slower way.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    torch.manual_seed(0)
    data = plain.load_digits(val_size=300, test_size=300, split_seed=1)
    network = MODELS[model]()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    scheduler = schedulers.warmup(optimizer, 10**6, warmup_steps=20, decay="constant")
    training = plain.Training(network, optimizer, scheduler)
    save = plain.Checkpoints(place / "checkpoints", training) if saved else None
    options = {"epochs": epochs, "batch_size": 64, "seed": 0, "clip": 1.0, "save": save, "loader": loader}
    found = plain.fit(training, data["train"], data["val"], **options)
    return save.best if save else found["val/loss"]


if __name__ == "__main__":
    main()
