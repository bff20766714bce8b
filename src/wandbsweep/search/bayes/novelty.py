"""How likely a configuration brings a value that was not seen before.

Different configurations may bring exactly the same value: their values lie on a plateau, the metric is counted in few
steps, or nearby configurations are answered by one stored result. There is then nothing to gain close to a trial, as
close as values were seen to come again. How close that is, the trials tell; where no value came twice, nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from wandbsweep.search.bayes.space import Floats, Space

REACH_PRIOR = (np.log(0.1), 1.5)
"""Mean and standard deviation of the log distance at which a value comes again half of the time; the unit cube has
side 1."""
STEEPNESS_PRIOR = (np.log(3.0), 0.7)
NEAREST = 1e-3
"""Distances below count as this one."""


class Novelty:
    """log of the probability that the value at points (n, columns) is a new one: a logistic function of the log
    distance to the nearest trial.

    `known` (trials, columns) are the trials that have or will have a value, of which the first have `values`, in the
    order of their numbers.
    """

    def __init__(self, space: Space, known: Floats, values: Sequence[float]) -> None:
        self._space, self._known = space, known
        count = len(values)
        # Of each trial but the first: whether an earlier one had its value, and how far the nearest earlier one is.
        again = np.array([value in set(values[:i]) for i, value in enumerate(values)][1:], dtype=np.float64)
        self.repeats = float(again.mean()) if again.any() else 0.0
        """The share of values that were seen before."""
        if not self.repeats:
            return
        distance = np.sqrt(space.differences(known[:count], known[:count]).sum(0))
        distance[np.triu_indices(count)] = np.inf
        self._reach, self._steepness = _logistic(np.log(np.maximum(distance[1:].min(1), NEAREST)), again)

    def __call__(self, points: Floats) -> Floats:
        if not self.repeats:
            return np.zeros(len(points))
        distance = np.sqrt(self._space.differences(points, self._known).sum(0)).min(1)
        return -np.logaddexp(0.0, self._excess(distance))

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """The value at one point (columns,), and its gradient, meaningless in a category's column."""
        if not self.repeats:
            return 0.0, np.zeros(len(point))
        delta = point - self._known
        delta[:, self._space.categorical] = delta[:, self._space.categorical] != 0
        squares = (delta * delta).sum(1)
        nearest = int(squares.argmin())
        excess = float(self._excess(np.sqrt(squares[nearest])))
        value = -float(np.logaddexp(0.0, excess))
        if squares[nearest] <= NEAREST**2:
            return value, np.zeros(len(point))
        return value, self._steepness * expit(excess) * delta[nearest] / squares[nearest]

    def _excess(self, distance: Floats) -> Floats:
        """The log odds that the value comes again."""
        return np.asarray(self._steepness * (self._reach - np.log(np.maximum(distance, NEAREST))))


def _logistic(log_distance: Floats, again: Floats) -> tuple[float, float]:
    """The most probable log distance and steepness."""
    mean, deviation = np.array([REACH_PRIOR, STEEPNESS_PRIOR]).T

    def loss(theta: Floats) -> tuple[float, Floats]:
        steepness, away = np.exp(theta[1]), (theta - mean) / deviation
        odds = steepness * (theta[0] - log_distance)
        error = expit(odds) - again
        value = np.logaddexp(0.0, odds).sum() - again @ odds + 0.5 * away @ away
        return float(value), np.array([steepness * error.sum(), error @ odds]) + away / deviation

    found = minimize(loss, mean, jac=True, method="L-BFGS-B").x
    return float(found[0]), float(np.exp(found[1]))
