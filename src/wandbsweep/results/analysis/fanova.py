"""Functional ANOVA of a random forest: how much of a metric's variance each parameter explains by itself.

F. Hutter, H. Hoos and K. Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. The
variance of a tree's prediction over the whole space is split into each parameter's own part, which is that of the
prediction averaged over all other parameters, and what only several explain together. Equal to Optuna's
``FanovaImportanceEvaluator`` on the same forest (a test compares them), which visits leaves one by one in Python and
takes half a minute for 1,000 trials; here a tree is a few products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Axis:
    """One parameter as columns of a forest: one column in [0, 1], or a column for each of its values, 0 or 1."""

    columns: Sequence[int]
    listed: bool


def main_effects(
    x: NDArray[np.float64], y: NDArray[np.float64], axes: Sequence[Axis], *, trees: int, seed: int
) -> NDArray[np.float64]:
    """Each axis's own share of the variance, in [0, 1], by tree: (trees, axes). NaN for a tree that is a constant."""
    from sklearn.ensemble import RandomForestRegressor

    # Leaves no finer than some 200 for all: what lies below is noise, and takes the square of them in time.
    forest = RandomForestRegressor(n_estimators=trees, min_samples_leaf=max(1, len(y) // 200), random_state=seed)
    forest.fit(x, y)
    return np.array([tree_effects(estimator.tree_, axes) for estimator in forest.estimators_])


def tree_effects(tree: Any, axes: Sequence[Axis]) -> NDArray[np.float64]:
    """Each axis's own share of the variance of one fitted scikit-learn tree."""
    lows, highs, values = _boxes(tree, columns=max(c for axis in axes for c in axis.columns) + 1)
    # (leaves, cells): which cells of an axis a leaf reaches over; weights: how much of the axis a cell is.
    reach, weights = zip(*(_cells(lows, highs, axis) for axis in axes), strict=True)
    extent = np.array([r @ w for r, w in zip(reach, weights, strict=True)])  # (axes, leaves)
    volume = extent.prod(axis=0)
    mean = float(values @ volume)
    total = float(np.square(values - mean) @ volume)
    if total <= 1e-12 * max(1.0, mean * mean):
        return np.full(len(axes), np.nan)
    own = []
    for index, (r, w) in enumerate(zip(reach, weights, strict=True)):
        others = np.delete(extent, index, axis=0).prod(axis=0)
        own.append(float(np.square((values * others) @ r - mean) @ w))
    return np.clip(np.array(own) / total, 0.0, 1.0)


def _boxes(tree: Any, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The leaves: the box of each in the columns' unit cube, and its value."""
    left, right = tree.children_left, tree.children_right
    low = np.zeros((tree.node_count, columns))
    high = np.ones((tree.node_count, columns))
    for node in range(tree.node_count):  # a parent always comes before its children
        if left[node] < 0:
            continue
        column, threshold = tree.feature[node], tree.threshold[node]
        for child in (left[node], right[node]):
            low[child], high[child] = low[node], high[node]
        high[left[node], column] = min(high[node, column], threshold)
        low[right[node], column] = max(low[node, column], threshold)
    leaves = left < 0
    return low[leaves], high[leaves], tree.value[leaves, 0, 0]


def _cells(
    lows: NDArray[np.float64], highs: NDArray[np.float64], axis: Axis
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = list(axis.columns)
    if axis.listed:
        # The value k is the corner where column k is 1 and the others are 0: which boxes hold it?
        holds_one, holds_zero = highs[:, columns] >= 1.0, lows[:, columns] <= 0.0
        count = len(columns)
        reach = np.stack(
            [holds_one[:, k] & np.delete(holds_zero, k, axis=1).all(axis=1) for k in range(count)], axis=1
        ).astype(float)
        return reach, np.full(count, 1.0 / count)
    edges = np.unique(np.concatenate([[0.0, 1.0], lows[:, columns[0]], highs[:, columns[0]]]))
    middles = (edges[1:] + edges[:-1]) / 2
    inside = (lows[:, columns] <= middles) & (middles < highs[:, columns])
    return inside.astype(float), np.diff(edges)
