"""Statistics of several runs of one configuration: mean, spread, confidence, and whether two configurations differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """The runs of one configuration."""

    count: int
    mean: float
    deviation: float | None
    """The sample's standard deviation; None for a single run."""
    interval: tuple[float, float] | None
    """The 95 % confidence interval of the mean."""


@dataclass(frozen=True)
class Comparison:
    """Two configurations, compared by their runs with the same seeds."""

    pairs: int
    difference: float
    """The mean of first minus second."""
    interval: tuple[float, float] | None
    p: float | None
    """The probability of a difference as large if there is none; None for fewer than two pairs."""

    @property
    def distinguishable(self) -> bool:
        return self.p is not None and self.p < 1 - CONFIDENCE


def summarise(values: Sequence[float]) -> Summary:
    """Return mean, deviation and Student's interval ("The Probable Error of a Mean", Biometrika 6, 1908).

    The interval assumes that the runs' values are nearly normal.
    """
    from scipy.stats import t

    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Summary(count, mean, None, None)
    deviation = statistics.stdev(values)
    if deviation == 0:
        return Summary(count, mean, 0.0, (mean, mean))
    low, high = t.interval(CONFIDENCE, count - 1, loc=mean, scale=deviation / math.sqrt(count))
    return Summary(count, mean, deviation, (float(low), float(high)))


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Return Student's paired t-test.

    The same seed gives both configurations the same order of the data and, if the shapes agree, the same initial
    weights, so that the differences vary less than the values.
    """
    from scipy.stats import ttest_1samp

    differences = [a - b for a, b in zip(first, second, strict=True)]
    count, mean = len(differences), statistics.fmean(differences)
    if count < 2:
        return Comparison(count, mean, None, None)
    if statistics.stdev(differences) == 0:
        return Comparison(count, mean, (mean, mean), 1.0 if mean == 0 else 0.0)
    test = ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(CONFIDENCE)
    return Comparison(count, mean, (float(low), float(high)), float(test.pvalue))
