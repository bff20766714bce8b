"""How likely early termination lets a configuration train on, as its earlier trials tell.

A configuration that would be good in the end but is stopped on its way gives nothing, and since it never shows its
final value the model would go on believing in it. So the value at each band of Hyperband has a Gaussian process of its
own, and the expected improvement is weighed by the probability to be among those that go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from scipy.special import log_ndtr

from wandbsweep.spec import SweepSpec
from wandbsweep.stopping import bands, counted, threshold
from wandbsweep.trial import TrialRecord

from .curves import Warp
from .gp import Observations, Posterior, condition, fit
from .space import Floats, Space

WEIGHT = 0.3
"""The power of the probability: with 1 hardly anything is tried that may be stopped, and a stop is what saves time."""
FEWEST = 12
"""Trials that must have come to a band before it is judged."""
FITTED = 120
"""Of more trials, so many of the latest are used."""


class Survival:
    """log of the probability to go on past every band, at points (n, columns)."""

    def __init__(self, space: Space, spec: SweepSpec, trials: Sequence[TrialRecord]) -> None:
        self._space = space
        self._bands: list[tuple[Floats, Posterior, float, float]] = []
        settings = spec.early_terminate
        if settings is None or settings.type != "hyperband":
            return
        sign = -1.0 if spec.goal == "maximize" else 1.0
        histories = [counted(trial.history) for trial in trials]
        longest = max(map(len, histories), default=0)
        for band in takewhile(lambda band: band <= longest, bands(settings)):
            reached = [i for i, history in enumerate(histories) if len(history) >= band]
            limit = threshold(band, settings.eta, spec.goal, histories)
            if len(reached) < FEWEST or limit is None:
                break
            self._bands.append(self._band([trials[i] for i in reached[-FITTED:]], band, sign, limit))

    def _band(
        self, trials: Sequence[TrialRecord], band: int, sign: float, limit: float
    ) -> tuple[Floats, Posterior, float, float]:
        values = np.array([sign * counted(trial.history)[band - 1] for trial in trials])
        warp = Warp.fitted(values)
        x = np.stack([self._space.encode(trial.params) for trial in trials])
        squares = self._space.differences(x, x)
        seen = Observations(np.arange(len(x)), np.zeros(len(x)), warp(values))
        p = fit(squares, seen)
        posterior = condition(squares, seen, np.array([], dtype=np.int64), p, np.zeros((1, 0)))
        return x, posterior, float(warp(np.array([sign * limit]))[0]), float(np.exp(p.noise))

    def __call__(self, points: Floats) -> Floats:
        logs = np.zeros(len(points))
        for x, posterior, limit, noise in self._bands:
            mean, variance = posterior.at(self._space.differences(points, x))
            # The bands are far from independent: the least likely one is about right for all.
            logs = np.minimum(logs, WEIGHT * log_ndtr((limit - mean[:, 0]) / np.sqrt(variance + noise)))
        return logs
