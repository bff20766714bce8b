"""Where to look next: the logarithm of the expected improvement, climbed by gradient from many starts.

LogEI: Ament et al. (2023). With pending trials it is the mean over fantasies of their results (Snoek et al.
2012), in each of which there is to improve on the best result that this fantasy holds: else the search would follow
those that run to where they might do well.

Of all points in the cube its corners are the furthest from what is known, so a search that has settled on a local
optimum would spend the rest of its trials there. So most asks compare only good trials with a few of their columns
changed, as trust-region searches in many dimensions do (Regis and Shoemaker 2013; Eriksson et al. 2019), and every
fifth or so compares points from everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from wandbsweep.search.bayes.gp import SQRT5, Posterior
from wandbsweep.search.bayes.novelty import Novelty
from wandbsweep.search.bayes.space import Floats, Space

LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
EVERYWHERE = 0.2
"""The share of asks that look at points from the whole space."""
CHANGED = 3
"""In the other asks a candidate differs from a good trial in one to about so many columns."""
REACH = 0.4
"""From where a candidate of those is climbed at most so far along each column; the unit cube has side 1."""


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
    """(n,) log of the improvement on `best` (fantasies,) expected over all fantasies; mean (n, fantasies), variance
    (n,)."""
    sigma = np.sqrt(variance)[:, None]
    logs = np.log(sigma) + log_h((best - mean) / sigma)
    top = logs.max(1)
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).mean(1)))


class Acquisition:
    """log EI at points (n, columns) of a space, given the trials (trials, columns) that the posterior is of, where the
    value is a new one."""

    def __init__(
        self, space: Space, x: Floats, posterior: Posterior, best: float, novelty: Novelty | None = None
    ) -> None:
        self.space, self.x, self.posterior = space, x, posterior
        self.novelty = novelty or Novelty(space, x, [])
        self.best = posterior.drawn.min(0, initial=best)

    def __call__(self, points: Floats) -> Floats:
        mean, variance = self.posterior.at(self.space.differences(points, self.x))
        return log_ei(mean, variance, self.best) + self.novelty(points)

    def with_slope(self, point: Floats) -> tuple[float, Floats]:
        """The value at one point (columns,), and its gradient (columns,), meaningless in a category's column."""
        post = self.posterior
        delta = point[None, :] - self.x
        delta[:, self.space.categorical] = delta[:, self.space.categorical] != 0
        scale = np.exp(-2 * post.length)
        r = np.sqrt(delta * delta @ scale)
        decay = post.variance * np.exp(-SQRT5 * r)
        k = (1 + SQRT5 * r + 5 / 3 * r * r) * decay
        dk = (-5 / 3 * (1 + SQRT5 * r) * decay)[:, None] * delta * scale
        reduced = post.precision @ k
        mean = k @ post.beta
        variance = max(post.variance - float(k @ reduced), 1e-10)
        sigma = variance**0.5
        z = (self.best - mean) / sigma
        logs = log_h(z)
        top = float(logs.max())
        share = np.exp(logs - top)
        value = np.log(sigma) + top + np.log(share.mean())
        share /= share.sum()
        # d log EI: by the mean -Phi / (sigma h), by the standard deviation phi / (sigma h).
        by_mean = -share * np.exp(log_ndtr(z) - logs) / sigma
        by_sigma = float(share @ np.exp(-0.5 * z * z - LOG_SQRT_2PI - logs)) / sigma
        slope = dk.T @ (post.beta @ by_mean) - by_sigma / sigma * (dk.T @ reduced)
        new, towards_new = self.novelty.with_slope(point)
        return float(value) + new, slope + towards_new


def climb(acquisition: Acquisition, start: Floats, *, reach: float = 1.0, rounds: int = 2) -> Floats:
    """A local maximum at most `reach` from `start` along each column: columns with listed levels are tried level by
    level, the others climbed together."""
    space, point = acquisition.space, start.copy()
    free = np.flatnonzero(space.searched)
    limits = np.array([column.bounds for column in space.columns.values()])[free].T
    limit = {"maxiter": 30, "maxfun": 60}  # where the nearest trial changes the slope jumps, and line searches stall
    bounds = np.clip(start[free] + [[-reach], [reach]], *limits).T
    for _ in range(rounds):
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
    survival: Callable[[Floats], Floats] = lambda points: np.zeros(len(points)),
    *,
    starts: int = 6,
) -> Floats:
    """Candidates (n, columns), best first: climbed from the best of steps around `good` trials, best first, and of
    points that differ from one of them in some columns, or are anywhere.

    `survival` is the log of the probability that what there is to gain is not stopped before.
    """
    space = acquisition.space
    # Where values come again there is less to gain near the good trials.
    everywhere = rng.random() < max(EVERYWHERE, acquisition.novelty.repeats)
    drawn = space.draw(500, rng) if everywhere else crossed(space, np.repeat(good, 100, axis=0), rng)
    pool = np.concatenate([drawn, *(stepped(space, np.repeat(good, 20, axis=0), s, rng) for s in (0.02, 0.1))])
    order = np.argsort(-acquisition(pool) - survival(pool), kind="stable")
    chosen = _apart(pool[order], starts)
    reach = 1.0 if everywhere else REACH
    climbed = np.stack([climb(acquisition, point, reach=reach) for point in chosen])
    every = space.snap(np.concatenate([climbed, pool[order[:30]]]))
    value = acquisition(every) + survival(every)
    ranked: Floats = every[np.argsort(-value, kind="stable")]
    return ranked


def crossed(space: Space, base: Floats, rng: np.random.Generator) -> Floats:
    """`base` (n, columns) with one to about `CHANGED` columns of each row drawn anew."""
    change = rng.random(base.shape) < rng.integers(0, CHANGED, (len(base), 1)) / space.dims
    change[np.arange(len(base)), rng.integers(0, space.dims, len(base))] = True
    return np.where(change, space.draw(len(base), rng), base)


def stepped(space: Space, base: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """`base` (n, columns) a small step away; in columns with listed levels another level, in about one of five."""
    moved = np.clip(base + scale * rng.standard_normal(base.shape), 0, 1)
    swap = rng.random(base.shape) < 0.2
    return np.where(space.searched, moved, np.where(swap, space.draw(len(base), rng), base))


def _apart(ranked: Floats, count: int) -> list[Floats]:
    """The first `count` points that are not all neighbours of one another."""
    chosen: list[Floats] = []
    for point in ranked:
        if all(np.abs(point - other).max() > 0.1 for other in chosen):
            chosen.append(point)
        if len(chosen) == count:
            break
    return chosen
