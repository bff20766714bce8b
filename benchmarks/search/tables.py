"""The learning curves in `curves.npz` as tasks: a configuration gets the curve of the nearest stored one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import Goal, SweepSpec

HERE = Path(__file__).parent
EPOCHS = 52

DEVELOPMENT = ("digits", "digits_noisy", "breast_cancer", "diabetes", "china_or_flower")
HELD_OUT = ("digits_few", "digits_odd", "wine", "next_pixel", "china_place")
"""Design decisions were made without these; docs/search.md names the exceptions."""
SMOOTH = "smooth:"
METRIC = {
    "digits": "accuracy",
    "digits_noisy": "loss",
    "breast_cancer": "loss",
    "diabetes": "loss",
    "china_or_flower": "accuracy",
    "digits_few": "accuracy",
    "digits_odd": "loss",
    "wine": "loss",
    "next_pixel": "loss",
    "china_place": "accuracy",
}
"""The metric of each data set; accuracy only if the validation set is large enough to distinguish configurations."""

WIDE: dict[str, dict[str, Any]] = {
    "batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 256, "q": 1},
    "dropout": {"min": 0.0, "max": 0.6},
    "layers": {"min": 1, "max": 3},
    "learning_rate": {"distribution": "log_uniform_values", "min": 1e-3, "max": 3e-1},
    "momentum": {"min": 0.3, "max": 0.97},
    "units": {"distribution": "q_log_uniform_values", "min": 8, "max": 64, "q": 1},
    "weight_decay": {"distribution": "log_uniform_values", "min": 1e-6, "max": 3e-2},
}
ACTIVATION = {"activation": {"values": ["relu", "tanh", "sigmoid"]}}
NARROW = WIDE | {
    "dropout": {"min": 0.0, "max": 0.5},
    "learning_rate": {"distribution": "log_uniform_values", "min": 1e-2, "max": 3e-1},
    "momentum": {"min": 0.5, "max": 0.95},
    "units": {"distribution": "q_log_uniform_values", "min": 12, "max": 64, "q": 1},
    "weight_decay": {"distribution": "log_uniform_values", "min": 1e-4, "max": 3e-2},
}
"""A space whose median configuration is a decent one."""


def with_category(space: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: rule for name, rule in (space | ACTIVATION).items() if name != "momentum"}


SPACES: dict[str, dict[str, dict[str, Any]]] = {
    "digits": WIDE,
    "digits_noisy": with_category(WIDE),
    "breast_cancer": WIDE,
    "diabetes": NARROW,
    "china_or_flower": with_category(NARROW),
    "digits_few": NARROW,
    "digits_odd": with_category(WIDE),
    "wine": WIDE,
    "next_pixel": NARROW,
    "china_place": with_category(NARROW),
}


@cache
def load_parameters(name: str) -> dict[str, Parameter]:
    """Load the space of a data set, sorted by name."""
    return dict(load_sweep({"method": "random", "parameters": SPACES[name]}).parameters)


@dataclass
class Task:
    """One data set judged by one metric. Curves are as logged: to be maximised if `goal` says so."""

    name: str
    goal: Goal
    space: dict[str, dict[str, Any]] = field(repr=False)
    parameters: dict[str, Parameter] = field(repr=False)
    u: np.ndarray = field(repr=False)
    """(configurations, 7) in [0, 1]; a category's is (index + 0.5) / count."""
    curves: np.ndarray = field(repr=False)
    """(configurations, EPOCHS)"""
    seconds: np.ndarray = field(repr=False)
    """(configurations,) per epoch"""

    def __post_init__(self) -> None:
        sign = -1.0 if self.goal == "maximize" else 1.0
        final = np.where(np.isfinite(self.curves), sign * self.curves, np.inf).min(1)
        self.final = final
        self.optimum = float(final.min())
        self.median = float(np.median(final))
        self.category = np.array([p.values is not None for p in self.parameters.values()])

    def mapping(self, method: str = "bayes", early_terminate: dict[str, Any] | None = None) -> dict[str, Any]:
        """The W&B sweep configuration of this task."""
        found: dict[str, Any] = {
            "method": method,
            "metric": {"name": "metric", "goal": self.goal},
            "parameters": {name: dict(rule) for name, rule in self.space.items()},
        }
        if early_terminate:
            found["early_terminate"] = early_terminate
        return found

    def spec(self, early_terminate: dict[str, Any] | None = None) -> SweepSpec:
        return load_sweep(self.mapping("bayes", early_terminate))

    def curve(self, params: dict[str, Any], taken: set[int]) -> tuple[np.ndarray, float]:
        """Return the curve of training with `params`, and its seconds per epoch.

        `taken` are the rows of the table that other trials got; this one's row is added.
        """
        row = self.nearest(params, taken)
        taken.add(row)
        return self.curves[row], float(self.seconds[row])

    def point(self, params: dict[str, Any]) -> np.ndarray:
        """(7,) in [0, 1]"""
        return np.array([place(p, params[name]) for name, p in self.parameters.items()])

    def nearest(self, params: dict[str, Any], taken: set[int]) -> int:
        """Return the row of the table, not taken yet, that is nearest in the unit cube."""
        distance = np.abs(self.u - self.point(params))
        distance[:, self.category] = distance[:, self.category] > 1e-9
        squared = (distance**2).sum(1)
        squared[list(taken)] = np.inf
        return int(squared.argmin())

    def regret(self, best: float) -> float:
        """0: the table's best; 1: its median. `best` is the sign-free value, to be minimised."""
        return (best - self.optimum) / (self.median - self.optimum)


def place(p: Parameter, value: Any) -> float:
    """Return the coordinate of a value in [0, 1]; a step is in the middle of its share."""
    if p.values:
        return (p.values.index(value) + 0.5) / len(p.values)
    if p.distribution == "int_uniform":
        assert p.min is not None
        assert p.max is not None
        return float((value - p.min + 0.5) / (p.max - p.min + 1))
    return float(p.cdf(value))


@cache
def load_task(name: str, metric: str = "") -> Task:
    """Load a data set's table; with `smooth:NAME`, one that evaluates any configuration (`smooth.py`)."""
    if name.startswith(SMOOTH):
        from smooth import SmoothTask

        return SmoothTask.fit(load_task(name.removeprefix(SMOOTH), metric))
    metric = metric or METRIC[name]
    packed = HERE / "curves.npz"
    single = HERE / "curves" / f"{name}.npz"
    if packed.exists():
        with np.load(packed) as file:
            raw = {key.split("/")[1]: file[key] for key in file.files if key.startswith(f"{name}/")}
        for key in ("accuracy", "loss"):
            raw[key] = np.cumsum(raw[key], axis=1, dtype=np.uint16)
        raw["accuracy"] = raw["accuracy"] / 10_000
        raw["loss"] = np.where(raw["loss"] == 65535, np.nan, raw["loss"] / 2000)
    else:
        with np.load(single) as file:
            raw = {key: file[key] for key in file.files}
    parameters = load_parameters(name)
    columns = []
    for key, p in parameters.items():
        column = raw[f"value.{key}"].tolist()
        columns.append([place(p, p.values[v] if p.values else v) for v in column])
    goal: Goal = "maximize" if metric == "accuracy" else "minimize"
    u = np.array(columns).T
    return Task(f"{name}/{metric}", goal, SPACES[name], parameters, u, raw[metric], raw["seconds"])
