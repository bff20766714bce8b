"""Gain: what more trials are likely to bring, by the statistics of records."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wandbsweep.results.analysis.trial_matrix import Floats, TrialMatrix

_MIN_TRIALS = 8
"""With fewer trials, no amount is estimated."""


@dataclass(frozen=True)
class Gain:
    """What ``more`` further trials are expected to bring."""

    more: int
    chance: float
    """The probability that one of them is better than the best so far."""
    expected: float | None
    """By how much the best is expected to improve, in the metric's unit (0 if none is better); None if unknown."""
    basis: str
    """The basis of the estimate, in words."""


def compute_gain(matrix: TrialMatrix, *, learns: bool, more: int = 10) -> Gain:
    """Return the expected improvement of the best value by ``more`` further trials.

    Each of n + m independent draws is equally likely to be the best, so m new ones beat n old ones with probability
    m / (n + m), whatever the distribution (A. Renyi, 1962; N. Glick, "Breaking Records and Breaking Boards", American
    Mathematical Monthly 85, 1978). The amount follows from the expected best of k of the n trials, which is known for
    every k up to n (J. Dodge et al., "Show Your Work: Improved Reporting of Experimental Results", EMNLP 2019): the
    step from n^2 / (n + m) trials to n, by the factor (n + m) / n, brought as much as the next one by that factor will.
    That is exact for exponential tails, as most are beyond a high level (J. Pickands, Annals of Statistics 3, 1975),
    and too much if the metric has a bound and the search is near it.

    A search that learns proposes better trials with time, so only the recent half stands for what it would try next.
    The gap between these and the best so far is bridged by an exponential tail of the same mean: an approximation.

    Args:
        matrix: The trials.
        learns: Whether the search method learns from its trials.
        more: The number of further trials.
    """
    gains = -matrix.losses[~matrix.infeasible]
    if learns:
        window = max(_MIN_TRIALS, math.ceil(len(gains) / 2))
        recent, basis = gains[-window:], f"its last {min(window, len(gains))} trials as draws of what comes next"
    else:
        recent, basis = gains, f"its {len(gains)} trials as independent draws"
    n = len(recent)
    chance = more / (n + more)
    if n < _MIN_TRIALS:
        return Gain(more, chance, None, f"{basis}; too few to say by how much")
    gain = float(recent.max()) - _interpolate_expected_best(recent, n * n / (n + more))
    lacking = float(gains.max() - recent.max())
    # A record exceeds the best recent value by gain / chance on average.
    bridged = math.exp(-lacking * chance / gain) if gain > 0 else float(lacking == 0)
    return Gain(more, chance * bridged, gain * bridged, basis)


def _interpolate_expected_best(values: Floats, count: float) -> float:
    """Return the expected best of ``count`` of the values, which need not be a whole number."""
    low = math.floor(count)
    share = count - low
    return (1 - share) * _compute_expected_best(values, low) + share * _compute_expected_best(values, low + 1)


def _compute_expected_best(values: Floats, count: int) -> float:
    """Return the expected best of ``count`` of the values, drawn without replacement."""
    n = len(values)
    ordered = np.sort(values)
    # The i-th smallest is the best if all the others are below it: C(i - 1, count - 1) / C(n, count).
    chance, total = count / n, 0.0
    for i in range(n, count - 1, -1):
        total += chance * float(ordered[i - 1])
        if i > 1:
            chance *= (i - count) / (i - 1)
    return total
