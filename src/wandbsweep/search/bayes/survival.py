"""The probability that early termination lets a configuration continue, estimated from earlier trials.

A configuration that would be good in the end is of no use if it is stopped early. Since it never shows its final value,
the model would propose it again and again. So the values at each iteration where trials are compared (a band of
Hyperband, a rung of ``auto``) get a separate Gaussian process, and the expected improvement is weighted by the
probability of being among those that continue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np

from wandbsweep.search.bayes.bound import Bound, fit_bound
from wandbsweep.search.bayes.curves import Warp
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.adaptive_halving import FIRST_IF_LEARNING, list_rungs
from wandbsweep.stopping.history import History, as_history
from wandbsweep.stopping.successive_halving import bands, threshold
from wandbsweep.trial import TrialRecord

WEIGHT = 0.3
"""The power of the probability. With 1, hardly anything that may be stopped would be tried, but stops save time."""
FEWEST = 12
"""How many trials must have reached a band before it is modelled."""
LATEST = 120
"""If there are more trials, this many of the latest are used."""


class Survival:
    """The log of the probability of continuing past every comparison, at points (n, columns)."""

    def __init__(self, space: Space, spec: SweepSpec, trials: Sequence[TrialRecord]) -> None:
        self._space = space
        self._comparisons: list[tuple[Floats, Bound]] = []
        for values, limit in _list_comparisons(spec, trials):
            if len(values) < FEWEST:
                break
            latest = list(values)[-LATEST:]
            x = np.stack([space.encode(trials[i].params) for i in latest])
            self._comparisons.append(self._fit_comparison(x, np.array([values[i] for i in latest]), limit))

    def _fit_comparison(self, x: Floats, values: Floats, limit: float) -> tuple[Floats, Bound]:
        warp = Warp.fit(values)
        return x, fit_bound(self._space.differences(x, x), warp(values), float(warp(np.array([limit]))[0]))

    def __call__(self, points: Floats) -> Floats:
        logs = np.zeros(len(points))
        for x, bound in self._comparisons:
            # The comparisons are far from independent; the least likely one is about right for all together.
            logs = np.minimum(logs, WEIGHT * bound(self._space.differences(points, x)))
        return logs


def _list_comparisons(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[dict[int, float], float]]:
    """Yield, by iteration, the values of the trials that reached it, by position in ``trials``, and the limit.

    Both are to be minimised.
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
    sign = spec.sign
    longest = max(map(len, histories), default=0)
    for band in takewhile(lambda band: band <= longest, bands(settings)):
        limit = threshold(band, settings.eta, spec.goal, histories)
        assert limit is not None
        yield {i: sign * history[band - 1] for i, history in enumerate(histories) if len(history) >= band}, sign * limit
