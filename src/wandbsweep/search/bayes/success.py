"""The probability that a configuration does not fail, estimated from the trials that did.

A configuration that runs out of memory, diverges or crashes says something of its neighbours. Trials that failed get a
separate Gaussian process, of labels rather than values, and the expected improvement is weighted by the probability of
a success, as for unknown constraints (Gelbart, Snoek, Adams 2014, "Bayesian optimization with unknown constraints").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import log_ndtr

from wandbsweep.search.bayes.gp import Observations, condition, fit
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.trial import FAILED, SUCCEEDED, TrialRecord

FEWEST = 2
"""How many trials must have failed, and how many not, before failures are modelled."""
WEIGHT = 2.0
"""The power of the probability. With 1, more than half of the trials fail where the best configurations lie next to
failing ones; with 4, the search leaves regions in which trials fail by chance."""
SOFTNESS = 0.02
"""The variance that the edge between successes and failures has at least. Labels that contradict each other raise the
model's noise, which is no reason to try again where most trials failed."""
LATEST = 200
"""If there are more trials, this many of the latest are used."""
LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def mark_failures(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have parameters; those that reported and ended without any finite value are failed."""

    def is_failure(trial: TrialRecord) -> bool:
        return trial.state in SUCCEEDED and trial.value is None and bool(trial.reports)

    return [replace(t, state="failed") if is_failure(t) else t for t in trials if t.params]


class Success:
    """The log of the probability of a success, at points (n, columns)."""

    def __init__(self, space: Space, trials: Sequence[TrialRecord]) -> None:
        self._space = space
        ended = [t for t in trials if t.state in (*FAILED, *SUCCEEDED)][-LATEST:]
        failed = np.array([t.state in FAILED for t in ended], dtype=bool)
        self.is_modelled = min(failed.sum(), (~failed).sum()) >= FEWEST
        if not self.is_modelled:
            return
        self._x = np.stack([space.encode(t.params) for t in ended])
        squares = space.differences(self._x, self._x)
        # Success is 1 and failure -1, less a mean that says how often trials fail far from all known ones.
        self._mean = float(np.where(failed, -1.0, 1.0).mean())
        seen = Observations(np.arange(len(ended)), np.zeros(len(ended)), np.where(failed, -1.0, 1.0) - self._mean)
        p = fit(squares, seen)
        self._posterior = condition(squares, seen, np.array([], dtype=np.int64), p, np.zeros((1, 0)))

    def __call__(self, points: Floats) -> Floats:
        if not self.is_modelled:
            return np.zeros(len(points))
        mean, variance = self._posterior.at(self._space.differences(points, self._x))
        return np.asarray(WEIGHT * log_ndtr((mean[:, 0] + self._mean) / np.sqrt(variance + SOFTNESS)))

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient (columns,)."""
        if not self.is_modelled:
            return 0.0, np.zeros(len(point))
        delta = self._space.differences_to(point, self._x)
        mean, variance, dk, reduced = self._posterior.with_slope(delta)
        sigma = (variance + SOFTNESS) ** 0.5
        z = (float(mean[0]) + self._mean) / sigma
        value = float(log_ndtr(z))
        by_z = float(np.exp(-0.5 * z * z - LOG_SQRT_2PI - value))  # the derivative of log Phi
        return WEIGHT * value, WEIGHT * by_z * (
            dk.T @ self._posterior.beta[:, 0] / sigma + z / sigma**2 * (dk.T @ reduced)
        )
