"""The probability that a configuration keeps ``metric.constraints``, estimated from the trials' values.

Each bound of each limited metric gets a Gaussian process of its own, of how far the trials are from the bound. The
expected improvement is weighted by the probability that all bounds are kept, and it is the improvement over the best
feasible trial (Gelbart, Snoek, Adams 2014, "Bayesian optimization with unknown constraints"). As long as no trial is
feasible, any value is an improvement, so that the search looks for feasible configurations first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wandbsweep.search.bayes.bound import Bound, fit_bound
from wandbsweep.search.bayes.curves import Indices, TrainingSet
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.spec.limits import Limit, list_excesses
from wandbsweep.trial import ENDED, TrialRecord

FEWEST = 2
"""How many trials must have a value of each limited metric before the limits are modelled."""
LATEST = 200
"""If there are more trials, this many of the latest are used."""


class Feasibility:
    """The log of the probability of keeping all limits, at points (n, columns)."""

    def __init__(self, space: Space, limits: Sequence[Limit], trials: Sequence[TrialRecord]) -> None:
        """Fit the models.

        Args:
            space: The space.
            limits: The limits; there may be none.
            trials: All trials.
        """
        self._space = space
        excesses = {i: found for i, t in enumerate(trials) if (found := list_excesses(limits, t.metrics)) is not None}
        self.excess: dict[int, float] = {i: max(0.0, *found) for i, found in excesses.items() if limits}
        """By position among the trials, for those that have a value of each limited metric: 0 if it is feasible."""
        self.feasible = [i for i, excess in self.excess.items() if excess == 0 and trials[i].state in ENDED]
        """The positions of the trials that ended and keep all limits."""
        self._bounds: list[Bound] = []
        known = [i for i in self.excess if trials[i].state in ENDED][-LATEST:]
        if len(known) < FEWEST:
            return
        self._x = np.stack([space.encode(trials[i].params) for i in known])
        squares = space.differences(self._x, self._x)
        for column in np.array([excesses[i] for i in known]).T:
            self._bounds.append(_fit_excess(squares, column))

    def rank(self, data: TrainingSet) -> tuple[Indices, Indices]:
        """Return the rows of the feasible trials, and those of the trials to start from, the most promising first.

        If none is feasible, the trials nearest to being feasible come first.
        """
        feasible = [i for i in data.ranked.tolist() if i in self.feasible]
        if feasible:
            return np.array(feasible), np.array(feasible + [i for i in data.ranked.tolist() if i not in self.feasible])
        nearest = sorted(data.ranked.tolist(), key=lambda i: self.excess.get(i, np.inf))
        return np.array([], dtype=np.int64), np.array(nearest)

    def __call__(self, points: Floats) -> Floats:
        logs = np.zeros(len(points))
        if self._bounds:
            squares = self._space.differences(points, self._x)
        for bound in self._bounds:
            logs += bound(squares)
        return logs

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient, meaningless in a category's column."""
        total, slope = 0.0, np.zeros(len(point))
        for bound in self._bounds:
            value, gradient = bound.with_slope(self._space.differences_to(point, self._x))
            total, slope = total + value, slope + gradient
        return total, slope


def _fit_excess(squares: Floats, excess: Floats) -> Bound:
    """Fit a model of the excesses (trials,) over a bound, on a scale that is finest at the bound."""
    scale = float(np.median(np.abs(excess))) or float(np.abs(excess).max()) or 1.0
    distance = np.sign(excess) * np.log1p(np.minimum(np.abs(excess) / scale, 1e300))
    centre, spread = float(distance.mean()), float(distance.std()) or 1.0
    return fit_bound(squares, (distance - centre) / spread, -centre / spread)
