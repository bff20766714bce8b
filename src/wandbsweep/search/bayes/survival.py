"""How likely early termination lets a configuration train on, as its earlier trials tell.

A configuration that would be good in the end but is stopped on its way gives nothing, and since it never shows its
final value the model would go on believing in it. So the value at each iteration where trials are compared (a band of
Hyperband, a rung of ``auto``) has a Gaussian process of its own, and the expected improvement is weighed by the
probability to be among those that go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np
from scipy.special import log_ndtr

from wandbsweep.search.bayes.curves import Warp
from wandbsweep.search.bayes.gp import Observations, Posterior, condition, fit
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.adaptive_halving import FIRST_IF_LEARNING, list_rungs
from wandbsweep.stopping.history import History, as_history
from wandbsweep.stopping.successive_halving import bands, threshold
from wandbsweep.trial import TrialRecord

WEIGHT = 0.3
"""The power of the probability: with 1 hardly anything is tried that may be stopped, and a stop is what saves time."""
FEWEST = 12
"""Trials that must have come to a band before it is judged."""
FITTED = 120
"""Of more trials, so many of the latest are used."""


class Survival:
    """log of the probability to go on past every comparison, at points (n, columns)."""

    def __init__(self, space: Space, spec: SweepSpec, trials: Sequence[TrialRecord]) -> None:
        self._space = space
        self._comparisons: list[tuple[Floats, Posterior, float, float]] = []
        for values, limit in _comparisons(spec, trials):
            if len(values) < FEWEST:
                break
            latest = list(values)[-FITTED:]
            x = np.stack([space.encode(trials[i].params) for i in latest])
            self._comparisons.append(self._comparison(x, np.array([values[i] for i in latest]), limit))

    def _comparison(self, x: Floats, values: Floats, limit: float) -> tuple[Floats, Posterior, float, float]:
        warp = Warp.fitted(values)
        squares = self._space.differences(x, x)
        seen = Observations(np.arange(len(x)), np.zeros(len(x)), warp(values))
        p = fit(squares, seen)
        posterior = condition(squares, seen, np.array([], dtype=np.int64), p, np.zeros((1, 0)))
        return x, posterior, float(warp(np.array([limit]))[0]), float(np.exp(p.noise))

    def __call__(self, points: Floats) -> Floats:
        logs = np.zeros(len(points))
        for x, posterior, limit, noise in self._comparisons:
            mean, variance = posterior.at(self._space.differences(points, x))
            # They are far from independent: the least likely one is about right for all.
            logs = np.minimum(logs, WEIGHT * log_ndtr((limit - mean[:, 0]) / np.sqrt(variance + noise)))
        return logs


def _comparisons(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[dict[int, float], float]]:
    """In order of iterations: what the trials that came so far had, by their place in ``trials``, and the limit.

    Both to be minimised.
    """
    settings = spec.early_terminate
    if settings is None or settings.type not in ("hyperband", "auto"):
        return
    histories: list[History] = [as_history(trial.history) for trial in trials]
    if settings.type == "auto":
        finished = {i for i, trial in enumerate(trials) if trial.state == "finished"}
        for rung in list_rungs(spec.goal, dict(enumerate(histories)), finished, first=FIRST_IF_LEARNING):
            yield dict(rung.bests), rung.limit
        return
    sign = -1.0 if spec.goal == "maximize" else 1.0
    longest = max(map(len, histories), default=0)
    for band in takewhile(lambda band: band <= longest, bands(settings)):
        limit = threshold(band, settings.eta, spec.goal, histories)
        assert limit is not None
        yield {i: sign * history[band - 1] for i, history in enumerate(histories) if len(history) >= band}, sign * limit
