"""A Gaussian process over configurations and over how far they have trained.

The value of trial i when a share 1 - u of (the logarithm of) its iterations is done is modelled as

    z_i(u) = f(x_i) + e_i  +  u-dependent:  m(u) + g(x_i, u) + h_i(u)

f is what the search looks for: the value at the end, a Matern-5/2 process with a length scale per column.
e_i is the noise of a repetition. The gap between an early value and the last one, zero at u = 0, has a
mean m common to all (a quadratic), a part g that depends on the configuration (small learning rates learn
late), and a part h that is individual to each trial; g and h are Wiener processes that start at the *end* of training,
so that the nearer to the end a trial was stopped, the better its last value predicts the final one. Without
early values it is the plain GP.

After freeze-thaw (Swersky et al. 2014) and the joint models of Klein et al. (2020, "Model-based asynchronous
hyperparameter and neural architecture search"), with the curve's prior replaced by one whose uncertainty
ends at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from wandbsweep.search.bayes.space import Floats

LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
SQRT5 = 5.0**0.5
JITTER = 1e-5
GAP_MEAN_VARIANCE = 4.0
LENGTH_PRIOR = (np.log(0.6), 0.8)
"""Mean and standard deviation of each log length scale; the unit cube has side 1."""
SIGNAL_PRIOR = (0.0, 0.7)
NOISE_PRIOR = (np.log(1e-2), 1.5)
GAP_PRIOR = (0.0, 1.0)
OWN_GAP_PRIOR = (np.log(0.1), 1.0)


@dataclass(frozen=True)
class Observations:
    """Observed values, one row each."""

    trial: NDArray[np.int64]
    """(n,) ascending: the row of the configuration."""
    u: Floats
    """(n,): 0 at the end of training, 1 at its first iteration."""
    z: Floats
    """(n,): the value, to be minimised, about standardised."""


@dataclass(frozen=True)
class Hyperparameters:
    """Variances and length scales, as logarithms."""

    length: Floats
    signal: float
    noise: float
    gap_length: Floats
    gap: float
    own_gap: float

    @classmethod
    def unpack(cls, theta: Floats, dims: int) -> Hyperparameters:
        if len(theta) == dims + 2:
            theta = np.concatenate([theta, _prior(dims, True)[0][dims + 2 :]])
        return cls(theta[:dims], theta[dims], theta[dims + 1], theta[dims + 2 : -2], float(theta[-2]), float(theta[-1]))


def _prior(dims: int, curves: bool) -> tuple[Floats, Floats]:
    parts = [LENGTH_PRIOR] * dims + [SIGNAL_PRIOR, NOISE_PRIOR]
    if curves:
        parts += [LENGTH_PRIOR] * dims + [GAP_PRIOR, OWN_GAP_PRIOR]
    mean, deviation = np.array(parts).T
    return mean, deviation


def matern(squares: Floats, log_length: Floats) -> tuple[Floats, Floats]:
    """Return the Matern-5/2 correlation of points whose squared differences are (columns, a, b).

    The second result turns a column's scaled squared differences into the derivative by its log length scale.
    """
    flat = squares.reshape(len(squares), -1)
    r = np.sqrt(np.exp(-2 * log_length) @ flat).reshape(squares.shape[1:])
    decay = np.exp(-SQRT5 * r)
    k: Floats = (1 + SQRT5 * r + 5 / 3 * r * r) * decay
    return k, 5 / 3 * (1 + SQRT5 * r) * decay


def _by_trial(matrix: Floats, starts: NDArray[np.int64]) -> Floats:
    rows: Floats = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    return rows


class MarginalLikelihood:
    """The negative log posterior of the hyperparameters and its gradient, for one set of observations."""

    def __init__(self, squares: Floats, seen: Observations) -> None:
        # Only trials with observations enter. ``local`` maps each observation to its trial; as observations are sorted
        # by trial, ``starts`` is where each trial's begin, which ``_by_trial`` sums over.
        rows, self.starts, local = np.unique(seen.trial, return_index=True, return_inverse=True)
        self.squares = squares[:, rows][:, :, rows]
        self.flat = self.squares.reshape(len(squares), -1)
        self.local = np.ix_(local, local)
        self.same = np.equal.outer(local, local).astype(np.float64)
        self.z = seen.z
        self.curves = bool((seen.u > 0).any())  # without early values the gap has no hyperparameters to fit
        # Wiener processes that start at the end of training covary by the smaller distance to it.
        self.overlap = np.minimum.outer(seen.u, seen.u)
        self.fixed = _gap_mean(seen.u, seen.u) + JITTER * np.eye(len(seen.u))
        self.prior_mean, self.prior_deviation = _prior(len(squares), self.curves)

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        dims = len(self.squares)
        p = Hyperparameters.unpack(theta, dims)
        kf, df = matern(self.squares, p.length)
        signal, noise = np.exp(p.signal), np.exp(p.noise)
        k = signal * kf[self.local] + noise * self.same + self.fixed
        if self.curves:
            kg, dg = matern(self.squares, p.gap_length)
            gap, own = np.exp(p.gap), np.exp(p.own_gap)
            k += (gap * kg[self.local] + own * self.same) * self.overlap
        # d log p(z) / d theta = tr((alpha alpha' - K^-1) dK / d theta) / 2, with alpha = K^-1 z (Rasmussen and Williams
        # 2006, 5.9). dK is constant within the observations of two trials, so the weights are summed by trial first.
        chol, lower = cho_factor(k, lower=True, check_finite=False)
        alpha = cho_solve((chol, lower), self.z, check_finite=False)
        inverse, _ = dpotri(chol, lower=1)  # fills the lower triangle only
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weight = np.outer(alpha, alpha) - inverse
        wf = _by_trial(weight, self.starts)
        slope = np.empty_like(theta)
        slope[:dims] = self.flat @ (signal * wf * df).ravel() * np.exp(-2 * p.length)
        slope[dims] = signal * np.sum(wf * kf)
        slope[dims + 1] = noise * np.trace(wf)
        if self.curves:
            wg = _by_trial(weight * self.overlap, self.starts)
            slope[dims + 2 : -2] = self.flat @ (gap * wg * dg).ravel() * np.exp(-2 * p.gap_length)
            slope[-2] = gap * np.sum(wg * kg)
            slope[-1] = own * np.trace(wg)
        fit = -0.5 * float(self.z @ alpha) - float(np.log(np.diag(chol)).sum())
        away = (theta - self.prior_mean) / self.prior_deviation
        return -(fit - 0.5 * float(away @ away)), -(0.5 * slope - away / self.prior_deviation)


def _gap_mean(a: Floats, b: Floats) -> Floats:
    """Return the covariance of a quadratic in u, zero at 0, with unknown coefficients."""
    product = np.multiply.outer(a, b)
    return np.asarray(GAP_MEAN_VARIANCE * (product + product**2))


def fit(squares: Floats, seen: Observations, *, iterations: int = 50) -> Hyperparameters:
    """Return the most probable hyperparameters.

    Args:
        squares: The squared differences (columns, trials, trials).
        seen: The observations.
        iterations: The most steps of the optimiser.
    """
    likelihood = MarginalLikelihood(squares, seen)
    start, reach = likelihood.prior_mean, 3.5 * likelihood.prior_deviation
    limits = list(zip(start - reach, start + reach, strict=True))
    found = minimize(likelihood, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": iterations})
    return Hyperparameters.unpack(found.x, len(squares))


@dataclass(frozen=True)
class Posterior:
    """f given the observations, for several fantasies of the pending values at once.

    The observations are summed by trial, because f covaries equally with all values of one trial.
    """

    length: Floats
    variance: float
    beta: Floats
    """The representer weights (trials, fantasies)."""
    precision: Floats
    """The inverse covariance (trials, trials)."""
    drawn: Floats
    """The final values of the pending trials in each fantasy (pending, fantasies)."""

    def at(self, squares: Floats) -> tuple[Floats, Floats]:
        """Return the mean (n, fantasies) and variance (n,) of f, for squared differences (columns, n, trials)."""
        k, _ = matern(squares, self.length)
        k *= self.variance
        spread = self.variance - np.einsum("ij,ij->i", k @ self.precision, k)
        return k @ self.beta, np.maximum(spread, 1e-10)

    def with_slope(self, delta: Floats) -> tuple[Floats, float, Floats, Floats]:
        """Return the mean (fantasies,) and variance of f at one point, and what their gradients are made of.

        Args:
            delta: The differences (trials, columns) of the point to the trials.

        Returns:
            The mean, the variance, the gradients of the covariances with the trials, ``dk`` (trials, columns), and
            ``reduced`` (trials,). The gradient of the mean is ``dk.T @ beta``, that of the variance
            ``-2 dk.T @ reduced``.
        """
        scale = np.exp(-2 * self.length)
        r = np.sqrt(delta * delta @ scale)
        decay = self.variance * np.exp(-SQRT5 * r)
        k = (1 + SQRT5 * r + 5 / 3 * r * r) * decay
        dk = (-5 / 3 * (1 + SQRT5 * r) * decay)[:, None] * delta * scale
        reduced = self.precision @ k
        variance = max(self.variance - float(k @ reduced), 1e-10)
        return k @ self.beta, variance, dk, reduced


def condition(
    squares: Floats, seen: Observations, pending: NDArray[np.int64], p: Hyperparameters, normals: Floats
) -> Posterior:
    """Return the posterior of f.

    The final values of the pending trials are drawn from the model, once for each fantasy, and then count as seen
    (Snoek et al. 2012).

    Args:
        squares: The squared differences of all trials (columns, trials, trials).
        seen: The observations.
        pending: The rows (q,) of the trials whose final value is not known.
        p: The hyperparameters.
        normals: Standard normal draws (fantasies, q).
    """
    trials = squares.shape[1]
    trial = np.concatenate([seen.trial, pending])
    u = np.concatenate([seen.u, np.zeros(len(pending))])
    local = np.ix_(trial, trial)
    same = np.equal.outer(trial, trial)
    kf, _ = matern(squares, p.length)
    kg, _ = matern(squares, p.gap_length)
    k = np.exp(p.signal) * kf[local] + np.exp(p.noise) * same + _gap_mean(u, u) + JITTER * np.eye(len(u))
    k += (np.exp(p.gap) * kg[local] + np.exp(p.own_gap) * same) * np.minimum.outer(u, u)
    n = len(seen.z)
    chol = np.tril(cho_factor(k, lower=True, check_finite=False)[0])
    # With k = L L', the pending values given the seen ones are L[n:, :n] w + L[n:, n:] normal, w = L[:n, :n]^-1 z. So
    # ``white`` holds L^-1 (z, pending) for every fantasy, and alpha = k^-1 (z, pending).
    w = solve_triangular(chol[:n, :n], seen.z, lower=True, check_finite=False)
    white = np.concatenate([np.repeat(w[:, None], len(normals), axis=1), normals.T])
    alpha = solve_triangular(chol, white, lower=True, trans="T", check_finite=False)
    inverse, _ = dpotri(chol, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    # f covaries equally with all values of one trial, so that sums by trial are all that predictions need.
    select = np.zeros((trials, len(u)))
    select[trial, np.arange(len(u))] = 1.0
    drawn = chol[n:, :n] @ white[:n] + chol[n:, n:] @ white[n:]
    return Posterior(p.length, float(np.exp(p.signal)), select @ alpha, select @ inverse @ select.T, drawn)
