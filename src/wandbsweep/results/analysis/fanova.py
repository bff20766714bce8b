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
    return np.array([compute_tree_effects(tree, axes) for tree in _fit_trees(x, y, trees=trees, seed=seed)])


def compute_marginals(
    x: Floats, y: Floats, axes: Sequence[Axis], points: Floats, *, trees: int, seed: int
) -> list[Floats]:
    """Return the forest's prediction along each axis, averaged over the whole range of all others.

    Args:
        x: The trials' columns (trials, columns).
        y: The trials' values (trials,).
        axes: Which columns belong to each parameter.
        points: Where to predict on an axis of numbers, in [0, 1]; a categorical axis has its values instead.
        trees: The number of trees in the forest.
        seed: The seed of the forest.

    Returns:
        For each axis, one prediction per point or value.
    """
    sums: list[Any] = [0.0] * len(axes)
    for tree in _fit_trees(x, y, trees=trees, seed=seed):
        lows, highs, values, _, _, extents = _measure_leaves(tree, axes)
        for index, axis in enumerate(axes):
            others = np.delete(extents, index, axis=0).prod(axis=0)
            reach = (
                _reach_values(lows, highs, axis) if axis.is_categorical else _reach_points(lows, highs, axis, points)
            )
            sums[index] = sums[index] + (values * others) @ reach
    return [total / trees for total in sums]


def _fit_trees(x: Floats, y: Floats, *, trees: int, seed: int) -> list[Any]:
    from sklearn.ensemble import RandomForestRegressor

    # About 200 leaves at most: finer ones fit noise, and the time grows with the square of their number.
    leaf_size = max(1, len(y) // _MAX_LEAVES)
    forest = RandomForestRegressor(n_estimators=trees, min_samples_leaf=leaf_size, random_state=seed)
    forest.fit(x, y)
    return [estimator.tree_ for estimator in forest.estimators_]


def _measure_leaves(tree: Any, axes: Sequence[Axis]) -> tuple[Floats, Floats, Floats, Any, Any, Floats]:
    """Return the leaves' corners and values, and how they cut the axes.

    The leaves cut each axis into cells. reaches, one (leaves, cells) an axis: which cells of its axis a leaf covers;
    weights, one (cells,) an axis: the share of the axis that a cell is; extents (axes, leaves): the share of the axis
    that a leaf covers.
    """
    lows, highs, values = _list_leaf_boxes(tree, columns=max(c for axis in axes for c in axis.columns) + 1)
    reaches, weights = zip(*(_cut_axis(lows, highs, axis) for axis in axes), strict=True)
    extents = np.array([reach @ w for reach, w in zip(reaches, weights, strict=True)])
    return lows, highs, values, reaches, weights, extents


def compute_tree_effects(tree: Any, axes: Sequence[Axis]) -> Floats:
    """Return each axis's own share of the variance of one fitted scikit-learn tree."""
    _, _, values, reaches, weights, extents = _measure_leaves(tree, axes)
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
    if axis.is_categorical:
        return _reach_values(lows, highs, axis), np.full(len(axis.columns), 1.0 / len(axis.columns))
    column = axis.columns[0]
    edges = np.unique(np.concatenate([[0.0, 1.0], lows[:, column], highs[:, column]]))
    return _reach_points(lows, highs, axis, (edges[1:] + edges[:-1]) / 2), np.diff(edges)


def _reach_values(lows: Floats, highs: Floats, axis: Axis) -> Floats:
    """Return which values of a categorical axis each leaf covers (leaves, values).

    Value k is the corner where column k is 1 and the others are 0: a leaf covers it if its box holds the corner.
    """
    columns = list(axis.columns)
    holds_one, holds_zero = highs[:, columns] >= 1.0, lows[:, columns] <= 0.0
    reach = [holds_one[:, k] & np.delete(holds_zero, k, axis=1).all(axis=1) for k in range(len(columns))]
    return np.stack(reach, axis=1).astype(float)


def _reach_points(lows: Floats, highs: Floats, axis: Axis, points: Floats) -> Floats:
    """Return which points of an axis of numbers each leaf covers (leaves, points)."""
    columns = list(axis.columns)
    return ((lows[:, columns] <= points) & (points < highs[:, columns])).astype(float)
