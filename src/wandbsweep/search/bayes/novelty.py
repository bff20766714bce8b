"""The probability that a configuration gives a value that no trial has had.

Different configurations may give exactly the same value: they lie on a plateau, the metric has few steps, or nearby
configurations share one stored result. Then there is nothing to gain within the distance at which values repeat. That
distance is estimated from the trials; if no value has occurred twice, nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from wandbsweep.search.bayes.space import Floats, Space

REACH_PRIOR = (np.log(0.1), 1.5)
"""Mean and standard deviation of the log distance at which a value repeats half of the time; the unit cube has side
1."""
STEEPNESS_PRIOR = (np.log(3.0), 0.7)
NEAREST = 1e-3
"""Smaller distances count as this one."""


class Novelty:
    """The log probability that the value at points (n, columns) is new: a logistic function of the log distance to the
    nearest trial.
    """

    def __init__(self, space: Space, known: Floats, values: Sequence[float]) -> None:
        """Fit the function.

        Args:
            space: The space.
            known: The trials (trials, columns) that have or will have a value.
            values: The values of the first of them, in the order of their numbers.
        """
        self._space, self._known = space, known
        count = len(values)
        # For each trial but the first: whether an earlier one had the same value, and the distance of the nearest one.
        again = np.array([value in set(values[:i]) for i, value in enumerate(values)][1:], dtype=np.float64)
        self.repeats = float(again.mean()) if again.any() else 0.0
        """The share of values that were seen before."""
        if not self.repeats:
            return
        distance = np.sqrt(space.differences(known[:count], known[:count]).sum(0))
        distance[np.triu_indices(count)] = np.inf
        self._reach, self._steepness = _fit_logistic(np.log(np.maximum(distance[1:].min(1), NEAREST)), again)

    def __call__(self, points: Floats) -> Floats:
        if not self.repeats:
            return np.zeros(len(points))
        distance = np.sqrt(self._space.differences(points, self._known).sum(0)).min(1)
        return -np.logaddexp(0.0, self._log_odds(distance))

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient, meaningless in a category's column."""
        if not self.repeats:
            return 0.0, np.zeros(len(point))
        delta = point - self._known
        delta[:, self._space.categorical] = delta[:, self._space.categorical] != 0
        squares = (delta * delta).sum(1)
        nearest = int(squares.argmin())
        excess = float(self._log_odds(np.sqrt(squares[nearest])))
        value = -float(np.logaddexp(0.0, excess))
        if squares[nearest] <= NEAREST**2:
            return value, np.zeros(len(point))
        return value, self._steepness * expit(excess) * delta[nearest] / squares[nearest]

    def _log_odds(self, distance: Floats) -> Floats:
        """Return the log odds that the value repeats."""
        return np.asarray(self._steepness * (self._reach - np.log(np.maximum(distance, NEAREST))))


def _fit_logistic(log_distance: Floats, again: Floats) -> tuple[float, float]:
    """Return the most probable log distance and steepness."""
    mean, deviation = np.array([REACH_PRIOR, STEEPNESS_PRIOR]).T

    def loss(theta: Floats) -> tuple[float, Floats]:
        steepness, away = np.exp(theta[1]), (theta - mean) / deviation
        odds = steepness * (theta[0] - log_distance)
        error = expit(odds) - again
        value = np.logaddexp(0.0, odds).sum() - again @ odds + 0.5 * away @ away
        return float(value), np.array([steepness * error.sum(), error @ odds]) + away / deviation

    found = minimize(loss, mean, jac=True, method="L-BFGS-B").x
    return float(found[0]), float(np.exp(found[1]))
