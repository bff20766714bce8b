"""The acquisition function: the logarithm of the expected improvement, maximised by gradient from many starts.

LogEI: Ament et al. (2023). With pending trials it is the mean over fantasies of their results (Snoek et al. 2012). Each
fantasy compares with its own best trial, which may be a pending one; otherwise the search would keep
proposing points near the running trials. The best trial is the one with the lowest *mean* of the model: the best value
that was seen owes part of its rank to luck if values are noisy, and a search that must improve on luck leaves good
regions early (Gramacy and Lee 2011; "plug-in" in Picheny, Wagner, Ginsbourger 2013).

The corners of the cube are furthest from everything known, so a search that has converged on a local optimum would
spend the rest of its trials there. Therefore most asks compare only good trials with a few of their columns changed, as
trust-region searches in many dimensions do (Regis and Shoemaker 2013; Eriksson et al. 2019); about every fifth compares
points from the whole cube.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from wandbsweep.search.bayes.gp import LOG_SQRT_2PI, Posterior
from wandbsweep.search.bayes.space import Bools, Floats, Space

EVERYWHERE = 0.2
"""The share of asks that look at points from the whole space."""
CHANGED = 3
"""In the other asks, a candidate differs from a good trial in one to about this many columns."""
STARTS = 6
"""How many candidates are climbed from."""
REACH = 0.4
"""How far the optimiser moves such a candidate at most along each column; the unit cube has side 1."""
APART = 0.3
"""The root mean square difference, over the columns, from which on two points are in different regions."""


def log_h(z: Floats) -> Floats:
    """log(phi(z) + z Phi(z)), exact far into the tail."""
    low = np.minimum(z, -1.0)
    tail = 1 + low * np.sqrt(np.pi / 2) * erfcx(-low / np.sqrt(2))
    # Below -1e4 the bracket loses its digits to cancellation; it tends to 1 / z^2.
    tail = np.where(low < -1e4, 1 / (low * low), np.maximum(tail, 1e-300))
    high = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * high * high - LOG_SQRT_2PI) + high * np.exp(log_ndtr(high)))
    return np.asarray(np.where(z < -1, -0.5 * z * z - LOG_SQRT_2PI + np.log(tail), direct))


def log_ei(mean: Floats, variance: Floats, best: Floats) -> Floats:
    """Return the log of the improvement that is expected over all fantasies (n,).

    Args:
        mean: The posterior mean (n, fantasies).
        variance: The posterior variance (n,).
        best: The best value of each fantasy (fantasies,).
    """
    sigma = np.sqrt(variance)[:, None]
    logs = np.log(sigma) + log_h((best - mean) / sigma)
    top = logs.max(1)  # log-mean-exp, without overflow
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).mean(1)))


class Chance(Protocol):
    """The log of a probability by which the expected improvement is weighted."""

    def __call__(self, points: Floats) -> Floats:
        """Return it at points (n, columns)."""
        ...

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return it at one point (columns,), and its gradient (columns,)."""
        ...


class Acquisition:
    """log EI at points (n, columns) of a space, plus the logs of the probabilities of what else must come true."""

    def __init__(
        self, space: Space, x: Floats, posterior: Posterior, best: Floats, chances: Sequence[Chance] = ()
    ) -> None:
        """Prepare the function.

        Args:
            space: The space.
            x: The trials (trials, columns).
            posterior: The model of their values.
            best: The value to improve on in each fantasy (fantasies,).
            chances: What the expected improvement is weighted by.
        """
        self.space, self.x, self.posterior, self.best = space, x, posterior, best
        self.chances = chances

    def __call__(self, points: Floats) -> Floats:
        return sum((chance(points) for chance in self.chances), start=self.log_improvement(points))

    def log_improvement(self, points: Floats) -> Floats:
        """Return log EI alone at points (n, columns)."""
        mean, variance = self.posterior.at(self.space.differences(points, self.x))
        return log_ei(mean, variance, self.best)

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """Return the value at one point (columns,) and its gradient (columns,), meaningless in a category's column."""
        # The same as __call__ at one point, written out because the gradient shares most terms.
        delta = self.space.differences_to(point, self.x)
        mean, variance, dk, reduced = self.posterior.with_slope(delta)
        sigma = variance**0.5
        z = (self.best - mean) / sigma
        logs = log_h(z)
        # The fantasies' weights in the gradient of the log of their mean.
        top = float(logs.max())
        share = np.exp(logs - top)
        value = np.log(sigma) + top + np.log(share.mean())
        share /= share.sum()
        # The derivative of log EI by the mean is -Phi / (sigma h), by the standard deviation phi / (sigma h).
        by_mean = -share * np.exp(log_ndtr(z) - logs) / sigma
        by_sigma = float(share @ np.exp(-0.5 * z * z - LOG_SQRT_2PI - logs)) / sigma
        slope = dk.T @ (self.posterior.beta @ by_mean) - by_sigma / sigma * (dk.T @ reduced)
        total = float(value)
        for chance in self.chances:
            more, its_slope = chance.with_slope(point)
            total, slope = total + more, slope + its_slope
        return total, slope


def climb(acquisition: Acquisition, start: Floats, reach: float) -> Floats:
    """Return a local maximum at most `reach` from `start` along each column.

    Columns with listed levels are tried level by level. The others are optimised together.

    Args:
        acquisition: The function to maximise.
        start: The point (columns,) to start from.
        reach: How far to move at most; the unit cube has side 1.
    """
    space, point = acquisition.space, start.copy()
    free = np.flatnonzero(space.searched)
    limits = np.array([column.bounds for column in space.columns.values()])[free].T
    limit = {"maxiter": 30, "maxfun": 60}  # the slope jumps where the nearest trial changes: line searches stall
    bounds = np.clip(start[free] + [[-reach], [reach]], *limits).T
    for _ in range(2):  # visits of all columns
        before = point.copy()
        if len(free):

            def downhill(part: Floats, base: Floats = point) -> tuple[float, Floats]:
                moved = base.copy()
                moved[free] = part
                value, slope = acquisition.with_slope(moved)
                return -value, -slope[free]

            found = minimize(downhill, point[free], jac=True, method="L-BFGS-B", bounds=bounds, options=limit)
            point[free] = found.x
        for j, column in enumerate(space.columns.values()):
            if column.levels is not None:
                tried = np.repeat(point[None, :], len(column.levels), axis=0)
                tried[:, j] = column.levels
                point = tried[int(np.argmax(acquisition(tried)))]
        if free.size == space.dims or np.array_equal(before, point):
            break
    return point


def maximise(
    acquisition: Acquisition,
    good: Floats,
    rng: np.random.Generator,
    survival: Callable[[Floats], Floats],
    repeats: float = 0.0,
    exhausted: Floats | None = None,
) -> Floats:
    """Return candidates (n, columns), best first.

    They are local maxima, found from the best points of three pools: steps around good trials, good trials with some
    columns changed, and in about every fifth ask points from the whole space.

    Args:
        acquisition: The function to maximise.
        good: The good trials (n, columns), best first.
        rng: The source of all random numbers.
        survival: The log of the probability that a trial at points (n, columns) is not stopped early.
        repeats: The share of trials' values that were seen before.
        exhausted: The best trials (n, columns) of regions to stay away from.
    """
    space = acquisition.space
    # If values often repeat, there is less to gain near the good trials.
    everywhere = rng.random() < max(EVERYWHERE, repeats)
    drawn = space.draw(500, rng) if everywhere else cross(space, np.repeat(good, 100, axis=0), rng)
    pool = np.concatenate([drawn, *(step(space, np.repeat(good, 20, axis=0), s, rng) for s in (0.02, 0.1))])
    if space.constraints:
        allowed = space.meets_constraints(pool)
        pool = pool[allowed] if allowed.any() else space.draw(500, rng)
    pool = _stay_away(space, pool, exhausted)
    order = np.argsort(-acquisition(pool) - survival(pool), kind="stable")
    chosen = _pick_apart(pool[order], STARTS)
    reach = 1.0 if everywhere else REACH
    climbed = np.stack([_stay_allowed(space, point, climb(acquisition, point, reach)) for point in chosen])
    every = _stay_away(space, space.snap(np.concatenate([climbed, pool[order[:30]]])), exhausted)
    value = acquisition(every) + survival(every)
    ranked: Floats = every[np.argsort(-value, kind="stable")]
    return ranked


def is_apart(space: Space, points: Floats, centres: Floats) -> Bools:
    """Return which points (n, columns) are in other regions than the centres (m, columns)."""
    return np.asarray((space.differences(points, centres).mean(0) > APART**2).all(1))


def _stay_away(space: Space, points: Floats, centres: Floats | None) -> Floats:
    """Return the points that are in other regions than the centres; all points, if there is none."""
    if centres is None or not len(centres):
        return points
    apart = is_apart(space, points, centres)
    return points[apart] if apart.any() else points


def _stay_allowed(space: Space, start: Floats, end: Floats) -> Floats:
    """Return the point nearest to ``end`` on the way there from ``start`` that meets the constraints, by bisection."""
    if not space.constraints or space.meets_constraints(end[None])[0]:
        return end
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        met = space.meets_constraints((start + middle * (end - start))[None])[0]
        low, high = (middle, high) if met else (low, middle)
    return start + low * (end - start)


def cross(space: Space, base: Floats, rng: np.random.Generator) -> Floats:
    """Return `base` (n, columns) with one to about `CHANGED` columns of each row drawn again."""
    change = rng.random(base.shape) < rng.integers(0, CHANGED, (len(base), 1)) / space.dims
    change[np.arange(len(base)), rng.integers(0, space.dims, len(base))] = True
    return np.where(change, space.draw(len(base), rng), base)


def step(space: Space, base: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """Return `base` (n, columns) moved a small step; a column with listed levels changes its level once in five."""
    moved = np.clip(base + scale * rng.standard_normal(base.shape), 0, 1)
    swap = rng.random(base.shape) < 0.2
    return np.where(space.searched, moved, np.where(swap, space.draw(len(base), rng), base))


def _pick_apart(ranked: Floats, count: int) -> list[Floats]:
    """Return the first points, up to `count`, that are not neighbours of each other."""
    chosen: list[Floats] = []
    for point in ranked:
        if all(np.abs(point - other).max() > 0.1 for other in chosen):
            chosen.append(point)
        if len(chosen) == count:
            break
    return chosen
