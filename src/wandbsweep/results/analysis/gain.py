"""What going on with a search is likely to bring: the statistics of records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wandbsweep.results.analysis.trial_matrix import TrialMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 8  # trials to expect anything of


@dataclass(frozen=True)
class Gain:
    """What so many ``more`` trials would bring."""

    more: int
    chance: float
    """That one of them is better than the best so far."""
    expected: float | None
    """By how much the best is expected to improve, in the metric's unit (0 where none is better); None: unknown."""
    basis: str


def compute_gain(matrix: TrialMatrix, *, learns: bool, more: int = 10) -> Gain:
    """The expected improvement of the best value in ``more`` further trials.

    Of independent draws each of n + m is equally likely to be the best, so m new ones beat n old ones with probability
    m / (n + m), whatever the distribution (A. Renyi, 1962; N. Glick, "Breaking Records and Breaking Boards", American
    Mathematical Monthly 85, 1978). By how much: the best of k of the n trials is known in expectation for every k up to
    n (J. Dodge et al., "Show Your Work: Improved Reporting of Experimental Results", EMNLP 2019); what the last rise of
    the budget by the factor (n + m) / n brought, from n^2 / (n + m) trials to n, the next one brings as well. That is
    exact where tails are exponential, as most are beyond a high level (J. Pickands, Annals of Statistics 3, 1975), and
    somewhat too much where the metric has a bound and the search is near it.

    A bayes search draws better as it learns, so that only its recent half counts as draws from what it would try next;
    what these lack to the best so far, an exponential tail of the same mean has to bridge. That is an approximation.
    """
    gains = -matrix.losses
    if learns:
        window = max(_LEAST, math.ceil(len(gains) / 2))
        recent, basis = gains[-window:], f"its last {min(window, len(gains))} trials as draws of what comes next"
    else:
        recent, basis = gains, f"its {len(gains)} trials as independent draws"
    n = len(recent)
    chance = more / (n + more)
    if n < _LEAST:
        return Gain(more, chance, None, f"{basis}; too few to say by how much")
    gain = float(recent.max()) - _expected_best(recent, n * n / (n + more))
    lacking = float(gains.max() - recent.max())
    # A record's own excess has the mean gain / chance.
    bridged = math.exp(-lacking * chance / gain) if gain > 0 else float(lacking == 0)
    return Gain(more, chance * bridged, gain * bridged, basis)


def _expected_best(values: NDArray[np.float64], count: float) -> float:
    """The expected best of ``count`` of the values, drawn without replacement; between whole counts, in between."""
    low = math.floor(count)
    share = count - low
    return (1 - share) * _best_of(values, low) + share * _best_of(values, low + 1)


def _best_of(values: NDArray[np.float64], count: int) -> float:
    n = len(values)
    ordered = np.sort(values)
    # The i-th smallest is the best where all the others are below it: C(i - 1, count - 1) / C(n, count).
    chance, total = count / n, 0.0
    for i in range(n, count - 1, -1):
        total += chance * float(ordered[i - 1])
        if i > 1:
            chance *= (i - count) / (i - 1)
    return total
