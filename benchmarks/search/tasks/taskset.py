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
from dataclasses import dataclass
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
        self.forest, self.curves, self.optimum, self.median = found
        self.epochs = self.curves.shape[1]

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        return np.array([p.cdf(params[name]) for name, p in self.parameters.items()])

    def evaluate(self, params: Mapping[str, Any], rng: np.random.Generator, taken: set[int]) -> Evaluation:
        curve = predict(self.forest, self.curves, self.encode(params)[None])[0]
        finite = curve[np.isfinite(curve)]
        return Evaluation(curve, float(finite.min()) if len(finite) else np.inf, draw_seconds(rng))


@dataclass(frozen=True)
class Forest:
    """All trees in one, so that one point takes a millisecond."""

    column: np.ndarray
    """Of each node the column that it splits; -1: it is a leaf."""
    threshold: np.ndarray
    children: np.ndarray
    """(nodes, 2): where the lower and the upper part go on."""
    roots: np.ndarray
    """(trees,)"""
    leaves: np.ndarray
    """(trees, rows): the leaf of each stored setting."""

    @classmethod
    def join(cls, fitted: list[Any], u: np.ndarray) -> Forest:
        """Join scikit-learn's trees, fitted to the points `u` (rows, columns)."""
        sizes = [tree.tree_.node_count for tree in fitted]
        roots = np.cumsum([0, *sizes[:-1]])
        parts = [tree.tree_ for tree in fitted]
        children = [np.stack([t.children_left, t.children_right], 1) + r for t, r in zip(parts, roots, strict=True)]
        return cls(
            np.concatenate([np.where(t.feature >= 0, t.feature, -1) for t in parts]),
            np.concatenate([t.threshold for t in parts]),
            np.concatenate(children),
            roots,
            np.stack([tree.apply(u) + root for tree, root in zip(fitted, roots, strict=True)]),
        )

    def weigh(self, point: np.ndarray) -> np.ndarray:
        """Return the weight (rows,) that each stored setting has at a point."""
        point = point.astype(np.float32)  # as scikit-learn compares
        at = self.roots
        while (inner := self.column[at] >= 0).any():
            upper = point[self.column[at]] > self.threshold[at]
            at = np.where(inner, self.children[at, upper.astype(int)], at)
        same = at[:, None] == self.leaves
        weight: np.ndarray = (same / same.sum(1, keepdims=True)).mean(0)
        return weight


def predict(forest: Forest, curves: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the curves (n, epochs) at points (n, 8): NaN from where more than half of the weight has diverged."""
    weight = np.array([forest.weigh(point) for point in u])
    finite = np.isfinite(curves)
    share = weight @ finite
    mean = weight @ np.where(finite, curves, 0.0)
    return np.where(np.minimum.accumulate(share, axis=1) >= 0.5, mean / np.maximum(share, 1e-12), np.nan)


def _fit(path: Path, task: TaskSet) -> tuple[Forest, np.ndarray, float, float]:
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
    joined = Forest.join(forest.estimators_, u)

    def losses(points: np.ndarray) -> np.ndarray:
        curve = predict(joined, curves, points)
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
    return joined, curves, float(best_found.min()), float(np.median(values))
