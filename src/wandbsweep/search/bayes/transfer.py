"""Earlier sweeps (``prior.sweeps``) as a prior: where they found good configurations, as far as they are right here.

The earlier sweeps may be of other data or models, so their values have other scales and other optima. Each gets a
Gaussian process of its own, on its own scale. Its weight is how well it predicts the order of this sweep's trials
(as in RGPE: Feurer, Letham, Bakshy 2018, "Scalable meta-learning for Bayesian optimization using ranking-weighted
Gaussian process ensembles"). The weighted sum of what they predict lowers the expected improvement of configurations
that were bad elsewhere; this fades as this sweep's own trials become many, as in piBO (Hvarfner et al. 2022). The first
trials are configurations that together are good in all earlier sweeps, and in between others that tell whether the
earlier sweeps are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wandbsweep.search.bayes.curves import make_training_set
from wandbsweep.search.bayes.gp import Posterior, condition, fit
from wandbsweep.search.bayes.space import Bools, Floats, Space
from wandbsweep.spec.limits import are_violated
from wandbsweep.spec.sweep_spec import Metric
from wandbsweep.trial import ENDED, TrialRecord, is_number

STRENGTH = 3.0
"""The power of the prior before the first trial."""
HALF_LIFE = 4.0
"""After so many trials, half of it is left."""
TRUST = 0.7
"""The weight of an earlier sweep before the first trial."""
PAIRS = 4.0
"""To how many pairs of trials, a standard deviation apart, this first weight corresponds."""
DOUBT = 0.2
"""The earlier sweeps are trusted if one of them has a larger weight."""
TOP = 10
"""How many of each earlier sweep's best configurations may be tried first."""


@dataclass(frozen=True)
class EarlierSweep:
    """The model of one earlier sweep, whose values are to be minimised and about standardised."""

    space: Space
    x: Floats
    """(trials, columns)"""
    shared: Bools
    """(columns,): which parameters the earlier sweep had; it says nothing of the others."""
    posterior: Posterior
    top: Floats
    """Its best configurations (n, columns), best first."""

    def predict(self, points: Floats) -> Floats:
        """Return the predicted values at points (n, columns)."""
        mean, _ = self.posterior.at(self.space.differences(self._mask(points), self.x))
        return mean[:, 0]

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the predicted value at one point (columns,) and its gradient, meaningless in a category's column."""
        delta = self.space.differences_to(self._mask(point[None])[0], self.x)
        mean, _, dk, _ = self.posterior.with_slope(delta)
        return float(mean[0]), np.asarray(np.where(self.shared, dk.T @ self.posterior.beta[:, 0], 0.0))

    def _mask(self, points: Floats) -> Floats:
        return np.where(self.shared, points, self.x[0])


def fit_earlier(space: Space, metric: Metric, trials: Sequence[TrialRecord]) -> EarlierSweep | None:
    """Fit the model of an earlier sweep; None: it has no trial with a value.

    Args:
        space: The space of this sweep.
        metric: The metric, the same in both sweeps.
        trials: The trials of the earlier sweep; they may lack parameters of this one.
    """
    data = make_training_set(space, trials, metric)
    if data is None or not space.dims:
        return None
    squares = space.differences(data.x, data.x)
    posterior = condition(squares, data.seen, data.pending, fit(squares, data.sample), np.zeros((1, len(data.pending))))
    shared = np.array([any(name in trial.params for trial in trials) for name in space.columns], dtype=bool)
    allowed = [i for i in data.ranked.tolist() if not are_violated(metric.constraints, trials[i].metrics)]
    return EarlierSweep(space, data.x, shared, posterior, data.x[allowed[:TOP]])


class Transfer:
    """The log of a prior of good configurations, at points (n, columns)."""

    def __init__(self, space: Space, metric: Metric, earlier: Sequence[EarlierSweep], trials: Sequence[TrialRecord]):
        """Weigh the earlier sweeps.

        Args:
            space: The space.
            metric: The metric.
            earlier: The models of the earlier sweeps.
            trials: All trials of this sweep that have parameters.
        """
        self._space, self._earlier, self._count = space, earlier, len(trials)
        ended = [t for t in trials if t.state in ENDED and t.value is not None and is_number(t.value)]
        sign = metric.sign
        values = np.array([sign * t.value for t in ended if t.value is not None])
        x = np.stack([space.encode(t.params) for t in ended]) if ended else np.zeros((0, space.dims))
        self.weights = np.array([_weigh(sweep.predict(x), values) for sweep in earlier])
        # The trusted sweeps share the power, so that others do not dilute it.
        share = self.weights * self.weights.max(initial=0.0) / max(self.weights.sum(), 1e-9)
        self._powers = STRENGTH * HALF_LIFE / (HALF_LIFE + self._count) * share

    @property
    def is_next(self) -> bool:
        """Whether the next of the first trials is one that the earlier sweeps recommend, unless they are wrong."""
        return self._count % 3 != 1 and self.is_trusted

    @property
    def is_trusted(self) -> bool:
        """Whether an earlier sweep is right about the trials so far."""
        return bool(self.weights.max() > DOUBT)

    def __call__(self, points: Floats) -> Floats:
        logs = np.zeros(len(points))
        for power, sweep in zip(self._powers, self._earlier, strict=True):
            if power:
                logs -= power * sweep.predict(points)
        return logs

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient, meaningless in a category's column."""
        total, slope = 0.0, np.zeros(len(point))
        for power, sweep in zip(self._powers, self._earlier, strict=True):
            if power:
                value, gradient = sweep.with_slope(point)
                total, slope = total - power * value, slope - power * gradient
        return total, slope

    def list_good(self, rng: np.random.Generator) -> Floats:
        """Return the best configurations of the earlier sweeps (n, columns); what these lack is drawn at random."""
        found = []
        for weight, sweep in zip(self.weights, self._earlier, strict=True):
            if weight:
                found.append(np.where(sweep.shared, sweep.top, self._space.draw(len(sweep.top), rng)))
        return self._space.snap(np.concatenate(found)) if found else np.zeros((0, self._space.dims))

    def rank_first(self, tried: Floats, rng: np.random.Generator) -> Floats:
        """Return configurations to try first (n, columns), the best first: those that add most to the ``tried`` ones.

        A configuration adds what it is better than the best of the tried ones in each earlier sweep.
        """
        good = self.list_good(rng)
        if not len(good):
            return good
        badness = np.zeros(len(good))
        for weight, sweep in zip(self.weights, self._earlier, strict=True):
            found = sweep.predict(good)
            if len(tried):
                # A configuration that is worse everywhere still counts a little.
                found = np.minimum(found, sweep.predict(tried).min()) + 0.1 * found
            badness += weight * found
        return good[np.argsort(badness, kind="stable")]


def _weigh(predicted: Floats, values: Floats) -> float:
    """Return the weight, between 0 and 1, of an earlier sweep with these predictions (n,) of trials with these values.

    Pairs of trials count by how much their predictions differ.
    """
    gaps = predicted[:, None] - predicted[None, :]
    agreement = 0.5 * float((gaps * np.sign(values[:, None] - values[None, :])).sum())
    return float(np.clip((PAIRS * TRUST + agreement) / (PAIRS + 0.5 * np.abs(gaps).sum()), 0.0, 1.0))
