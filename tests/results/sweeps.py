"""Sweeps of every kind, made in a moment, and their configurations: what the tests of analysis and report read."""

import math
import random
from pathlib import Path

from tests.configurations import UNIT
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep

SPACE = {
    "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
    "optimizer.weight_decay": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-1},
    "model": {"values": ["mlp", "convnet", "resnet"]},
    "data.batch_size": {"values": [16, 32, 64, 128]},
    "scheduler.warmup_steps": {"min": 0, "max": 500},
    "model.dropout": {"min": 0.0, "max": 0.5},
}
TRAINING = {"method": "random", "metric": {"name": "val/loss"}, "parameters": SPACE}
"""A realistic space; ``train_sweep`` gives its trials learning curves."""

TRADE_OFF = {
    "method": "random",
    "metrics": [{"name": "loss"}, {"name": "size"}],
    "parameters": {"x": UNIT, "y": UNIT},
}
"""Two metrics to minimize."""

CONDITIONAL = {
    "opt": {"values": ["sgd", "adam"]},
    "momentum": {"min": 0.0, "max": 0.9, "when": {"opt": "sgd"}},
    "lr": SPACE["optimizer.lr"],
}
"""A space with a parameter that not every trial has."""

_MODEL_LOSSES = {"mlp": 0.3, "convnet": 0.0, "resnet": 0.1}


def compute_loss(params, noise):
    """Return the loss that a training ends at: a valley in the rate, and a little for the other parameters."""
    valley = 0.25 * (math.log10(params["optimizer.lr"]) + 2.5) ** 2
    return 0.05 + valley + 0.3 * abs(params["model.dropout"] - 0.2) + _MODEL_LOSSES[params["model"]] + noise


def train_sweep(directory: Path, config, trials, *, steps=8, fail=(), odd=(), seed=0):
    """Make a sweep whose trials report learning curves.

    Args:
        directory: Where it is made.
        config: A sweep configuration with the parameters of ``SPACE``.
        trials: How many trials it has.
        steps: How many steps a trial takes that is not stopped.
        fail: The numbers of the trials that fail, with a traceback.
        odd: The numbers of the trials that report NaN and infinity as well.
        seed: The seed of the sweep and of the noise.
    """
    noise = random.Random(seed)
    controller = create_sweep(load_sweep({"run_cap": trials, **config}), directory, seed=seed)
    for number in range(trials):
        trial = controller.ask(str(number % 4))
        if number in fail:
            text = f"RuntimeError: trial {number} ran out of <memory>"
            (directory / str(number)).mkdir()
            (directory / str(number) / "traceback.txt").write_text(f"Traceback:\n  File <x>\n{text}\n")
            controller.complete(trial, Outcome.failed(text))
            continue
        end = compute_loss(trial.params, abs(noise.gauss(0, 0.02)))
        reason = ""
        for step in range(steps):
            value = end + 1.5 * math.exp(-step / 2)
            if number in odd:
                value = [math.nan, math.inf, value][step % 3]
            decision = controller.report(trial, step, {"val/loss": value, "val/accuracy": 1 / (1 + end)})
            if decision.stop:
                reason = decision.reason
                break
        controller.complete(trial, Outcome.stopped(reason) if reason else Outcome.finished())
    return open_sweep(directory)


def plant_sweep(directory: Path, space, loss, trials, *, method="random", goal="minimize", seed=0, **config):
    """Make a sweep whose trials report once, namely ``loss(params)``: its analyses have known answers."""
    spec = load_sweep(
        {"method": method, "metric": {"name": "loss", "goal": goal}, "run_cap": trials, "parameters": space, **config}
    )
    controller = create_sweep(spec, directory, seed=seed)
    while (trial := controller.ask("0")) is not None:
        controller.report(trial, 0, {"loss": loss(trial.params)})
        controller.complete(trial, Outcome.finished())
    return open_sweep(directory)
