"""``prior: {expect: {optimizer.lr: 1e-3}}``: where the user expects the optimum, as a weight that fades.

The expected improvement is multiplied by a density around the expected values, to a power that falls with the number of
trials, so that a wrong belief costs trials but not the result (Hvarfner et al. 2022, "piBO: Augmenting acquisition
functions with user beliefs for Bayesian optimization").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wandbsweep.search.bayes.space import Floats, Space

STRENGTH = 5.0
"""After so many trials the density has the power 1; after n, ``STRENGTH / n``. The paper has a tenth of the budget."""
WIDTH = 0.2
"""The standard deviation of the density around an expected number; the unit cube has side 1."""
OTHER = np.log(0.2)
"""The log density of a category that is not the expected one."""


class Belief:
    """The log of the density at points (n, columns), times its power; only parameters with an expected value count."""

    def __init__(self, space: Space, expect: Mapping[str, Any], trials: int) -> None:
        self._space = space
        self._named = np.array([name in expect for name in space.columns], dtype=bool)
        self._expected = space.encode(expect)
        self._power = STRENGTH / max(1, trials)

    def __call__(self, points: Floats) -> Floats:
        delta = (points - self._expected)[:, self._named]
        categorical = self._space.categorical[self._named]
        logs = np.where(categorical, np.where(delta == 0, 0.0, OTHER), -0.5 * (delta / WIDTH) ** 2)
        return np.asarray(self._power * logs.sum(1))

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient, meaningless in a category's column."""
        slope = np.where(self._named, -(point - self._expected) / WIDTH**2, 0.0)
        return float(self(point[None])[0]), self._power * slope
