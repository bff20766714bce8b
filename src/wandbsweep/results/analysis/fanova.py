"""Functional ANOVA of a random forest: how much of a metric's variance each parameter explains by itself.

F. Hutter, H. Hoos and K. Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. The
variance of a tree's prediction over the whole space is the sum of each parameter's own part and of what only several
parameters explain together. A parameter's own part is the variance of the prediction averaged over all the others.

The results equal those of Optuna's ``FanovaImportanceEvaluator`` on the same forest (a test compares them). Optuna
visits leaves one by one in Python, which takes half a minute for 1,000 trials; here a tree takes a few matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wandbsweep.results.analysis.trial_matrix import Floats

_MAX_LEAVES = 200


@dataclass(frozen=True)
class Axis:
    """One parameter as columns of a forest."""

    columns: Sequence[int]
    """One column in [0, 1]; for a categorical parameter one per value, which is 1 if the trial has it, else 0."""
    is_categorical: bool


def compute_main_effects(x: Floats, y: Floats, axes: Sequence[Axis], *, trees: int, seed: int) -> Floats:
    """Return each axis's own share of the variance, in [0, 1], as an array (trees, axes).

    Args:
        x: The trials' columns (trials, columns).
        y: The trials' values (trials,).
        axes: Which columns belong to each parameter.
        trees: The number of trees in the forest.
        seed: The seed of the forest.

    Returns:
        NaN for a tree that is a constant.
    """
    from sklearn.ensemble import RandomForestRegressor

    # About 200 leaves at most: finer ones fit noise, and the time grows with the square of their number.
    leaf_size = max(1, len(y) // _MAX_LEAVES)
    forest = RandomForestRegressor(n_estimators=trees, min_samples_leaf=leaf_size, random_state=seed)
    forest.fit(x, y)
    return np.array([compute_tree_effects(estimator.tree_, axes) for estimator in forest.estimators_])


def compute_tree_effects(tree: Any, axes: Sequence[Axis]) -> Floats:
    """Return each axis's own share of the variance of one fitted scikit-learn tree."""
    lows, highs, values = _list_leaf_boxes(tree, columns=max(c for axis in axes for c in axis.columns) + 1)
    # The leaves cut each axis into cells. reach (leaves, cells): which cells of its axis a leaf covers; weights
    # (cells,): the share of the axis that a cell is.
    reaches, weights = zip(*(_cut_axis(lows, highs, axis) for axis in axes), strict=True)
    extents = np.array([reach @ w for reach, w in zip(reaches, weights, strict=True)])  # (axes, leaves)
    volumes = extents.prod(axis=0)
    mean = float(values @ volumes)
    total = float(np.square(values - mean) @ volumes)
    if total <= 1e-12 * max(1.0, mean * mean):
        return np.full(len(axes), np.nan)
    own = []
    for index, (reach, w) in enumerate(zip(reaches, weights, strict=True)):
        others = np.delete(extents, index, axis=0).prod(axis=0)
        own.append(float(np.square((values * others) @ reach - mean) @ w))
    return np.clip(np.array(own) / total, 0.0, 1.0)


def _list_leaf_boxes(tree: Any, columns: int) -> tuple[Floats, Floats, Floats]:
    """Return the lower and upper corner of each leaf in the columns' unit cube, and its value."""
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


def _cut_axis(lows: Floats, highs: Floats, axis: Axis) -> tuple[Floats, Floats]:
    """Return which cells of the axis each leaf covers (leaves, cells), and each cell's share of the axis (cells,)."""
    columns = list(axis.columns)
    if axis.is_categorical:
        # Value k is the corner where column k is 1 and the others are 0: a leaf covers it if its box holds the corner.
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
