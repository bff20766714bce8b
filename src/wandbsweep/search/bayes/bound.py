"""The probability that a value of a configuration stays below a bound, by a Gaussian process of the trials' values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from wandbsweep.search.bayes.gp import LOG_SQRT_2PI, Observations, Posterior, condition, fit
from wandbsweep.search.bayes.space import Floats


@dataclass(frozen=True)
class Bound:
    """The log of the probability that ``posterior``, with noise, is below ``limit``."""

    posterior: Posterior
    limit: float
    noise: float
    """A variance."""

    def __call__(self, squares: Floats) -> Floats:
        """Return it at n points (n,), from their squared differences to the trials (columns, n, trials)."""
        mean, variance = self.posterior.at(squares)
        return np.asarray(log_ndtr((self.limit - mean[:, 0]) / np.sqrt(variance + self.noise)))

    def with_slope(self, delta: Floats) -> tuple[float, Floats]:
        """Return it at one point and its gradient (columns,), from the point's differences to the trials.

        Args:
            delta: The differences (trials, columns).
        """
        mean, variance, dk, reduced = self.posterior.with_slope(delta)
        sigma = (variance + self.noise) ** 0.5
        z = (self.limit - float(mean[0])) / sigma
        value = float(log_ndtr(z))
        by_z = float(np.exp(-0.5 * z * z - LOG_SQRT_2PI - value))  # the derivative of log Phi
        return value, by_z * (z / sigma**2 * (dk.T @ reduced) - dk.T @ self.posterior.beta[:, 0] / sigma)


def fit_bound(squares: Floats, values: Floats, limit: float, *, noise: float | None = None) -> Bound:
    """Fit a Gaussian process to one value of each trial.

    Args:
        squares: The squared differences of the trials (columns, trials, trials).
        values: The values (trials,), about standardised.
        limit: What a value should be below.
        noise: The variance with which a value is compared with the limit; None: that of the model's noise.
    """
    seen = Observations(np.arange(len(values)), np.zeros(len(values)), values)
    p = fit(squares, seen)
    posterior = condition(squares, seen, np.array([], dtype=np.int64), p, np.zeros((1, 0)))
    return Bound(posterior, limit, float(np.exp(p.noise)) if noise is None else noise)
