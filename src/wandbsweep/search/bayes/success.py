"""The probability that a configuration does not fail, estimated from the trials that did.

A configuration that runs out of memory, diverges or crashes says something of its neighbours. Trials that failed get a
separate Gaussian process, of labels rather than values, and the expected improvement is weighted by the probability of
a success, as for unknown constraints (Gelbart, Snoek, Adams 2014, "Bayesian optimization with unknown constraints").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wandbsweep.search.bayes.bound import fit_bound
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
        # Failure is 1 and success -1, less a mean that says how often trials fail far from all known ones.
        labels = np.where(failed, 1.0, -1.0)
        mean = float(labels.mean())
        self._bound = fit_bound(squares, labels - mean, -mean, noise=SOFTNESS)

    def __call__(self, points: Floats) -> Floats:
        if not self.is_modelled:
            return np.zeros(len(points))
        return WEIGHT * self._bound(self._space.differences(points, self._x))

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient (columns,)."""
        if not self.is_modelled:
            return 0.0, np.zeros(len(point))
        value, slope = self._bound.with_slope(self._space.differences_to(point, self._x))
        return WEIGHT * value, WEIGHT * slope
