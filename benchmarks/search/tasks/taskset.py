"""TaskSet's real learning curves: 1,000 settings of an eight-parameter optimizer on each of its tasks.

Between the 1,000 settings, a forest fitted to whole curves answers: the curve of a new setting is a weighted mean of
real curves. The nearest setting would not do: in eight dimensions it is 0.4 of a side away, and most of what a search
then sees is that distance. A network or a Gaussian process would invent values beyond all real ones, and the latter is
the model of half of the searches compared here.

Metz et al. 2020, "Using a thousand optimization tasks to learn hyperparameter search strategies".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.tasks.base import Evaluation, Task, cached, draw_seconds

FAMILY = "taskset"
PREFIX = "FixedTextRNNClassification_imdb_"
TREES, LEAF = 100, 2


def _log(low: float, high: float) -> dict[str, Any]:
    return {"distribution": "log_uniform_values", "min": low, "max": high}


SPACE = {
    "learning_rate": _log(1e-8, 10.0),
    "one_minus_beta1": _log(1e-4, 1.0),
    "one_minus_beta2": _log(1e-6, 1.0),
    "epsilon": _log(1e-10, 1e3),
    "l1": _log(1e-8, 10.0),
    "l2": _log(1e-8, 10.0),
    "linear_decay": _log(1e-7, 1e-4),
    "exponential_decay": _log(1e-6, 1e-3),
}
"""What the settings were drawn from; the momenta are given by their distance from 1, which is log-uniform."""


def find_folder() -> Path | None:
    """Return the folder of TaskSet's JSON files under `BENCH_CURVES`, if that names one."""
    named = os.environ.get("BENCH_CURVES")
    if not named:
        return None
    found = sorted(Path(named).expanduser().rglob(f"{PREFIX}*.json"))
    return found[0].parent if found else None


def list_names() -> Iterator[str]:
    folder = find_folder()
    for path in sorted(folder.glob(f"{PREFIX}*.json")) if folder else ():
        yield f"{FAMILY}/{path.stem.removeprefix(PREFIX)}"


class TaskSet(Task):
    family, goal = FAMILY, "minimize"
    space = SPACE

    def __init__(self, name: str) -> None:
        self.name = name
        folder = find_folder()
        if folder is None:
            raise FileNotFoundError(f"{name} needs TaskSet's curves; BENCH_CURVES must name their folder")
        path = folder / f"{PREFIX}{name.removeprefix(f'{FAMILY}/')}.json"
        found = cached(name, (path, Path(__file__)), lambda: _fit(path, self))
        self.trees, self.curves, self.optimum, self.median = found
        self.epochs = self.curves.shape[1]

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        return np.array([p.cdf(params[name]) for name, p in self.parameters.items()])

    def evaluate(self, params: Mapping[str, Any], rng: np.random.Generator, taken: set[int]) -> Evaluation:
        curve = predict(self.trees, self.curves, self.encode(params)[None])[0]
        finite = curve[np.isfinite(curve)]
        return Evaluation(curve, float(finite.min()) if len(finite) else np.inf, draw_seconds(rng))


Trees = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
"""Of each tree the split columns (-1: a leaf), thresholds, left and right children, and each row's leaf."""


def predict(trees: Trees, curves: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the curves (n, epochs) at points (n, 8): NaN from where more than half of the weight has diverged."""
    weight = np.zeros((len(u), len(curves)))
    rows = np.arange(len(u))
    for column, threshold, left, right, leaf_of in trees:
        at = np.zeros(len(u), dtype=np.int64)
        while (inner := column[at] >= 0).any():
            lower = u[rows, column[at]].astype(np.float32) <= threshold[at]
            at = np.where(inner, np.where(lower, left[at], right[at]), at)
        same = at[:, None] == leaf_of
        weight += same / same.sum(1, keepdims=True) / len(trees)
    finite = np.isfinite(curves)
    share = weight @ finite
    mean = weight @ np.where(finite, curves, 0.0)
    return np.where(np.minimum.accumulate(share, axis=1) >= 0.5, mean / np.maximum(share, 1e-12), np.nan)


def _fit(path: Path, task: TaskSet) -> tuple[Trees, np.ndarray, float, float]:
    from sklearn.ensemble import ExtraTreesRegressor

    rows = json.loads(path.read_text())
    curves = np.array([row["valid"]["loss"] for row in rows], dtype=float)
    settings = [
        {n: 1 - row["hp"][n.removeprefix("one_minus_")] if n.startswith("one_") else row["hp"][n] for n in SPACE}
        for row in rows
    ]
    u = np.array([task.encode(params) for params in settings])
    # Splits are chosen by the best value so far, cut at the worst tenth: a forest would fit little but divergence.
    best = np.minimum.accumulate(np.where(np.isfinite(curves), curves, np.inf), axis=1)
    top = np.quantile(best[:, 0][np.isfinite(best[:, 0])], 0.9)
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, random_state=0).fit(u, np.minimum(best, top))
    trees: Trees = []
    for fitted in forest.estimators_:
        tree = fitted.tree_
        column = np.where(tree.feature >= 0, tree.feature, -1)
        trees.append((column, tree.threshold, tree.children_left, tree.children_right, fitted.apply(u)))

    def losses(points: np.ndarray) -> np.ndarray:
        found = [predict(trees, curves, part) for part in np.array_split(points, max(1, len(points) // 500))]
        curve = np.concatenate(found)
        return np.where(np.isfinite(curve), curve, np.inf).min(1)

    rng = np.random.default_rng(0)
    drawn = rng.random((2000, len(SPACE)))
    values = losses(drawn)
    start = np.concatenate([u, drawn])
    at = start[np.argsort(np.concatenate([losses(u), values]))[:20]]
    best_found = losses(at)
    for k in range(40):
        step = 0.3 * 0.92**k * rng.standard_normal((10, *at.shape)) * (rng.random((10, *at.shape)) < 0.4)
        tried = np.clip(at + step, 0, 1)
        found = losses(tried.reshape(-1, at.shape[1])).reshape(10, -1)
        better = found.min(0) < best_found
        at[better] = tried[found.argmin(0), np.arange(len(at))][better]
        best_found = np.minimum(best_found, found.min(0))
    return trees, curves, float(best_found.min()), float(np.median(values))
