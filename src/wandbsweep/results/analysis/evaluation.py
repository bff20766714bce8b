"""What several runs of one configuration say: mean, spread, confidence, and whether two can be told apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Of one configuration's runs."""

    count: int
    mean: float
    deviation: float | None
    """The sample's standard deviation; None: one run alone."""
    interval: tuple[float, float] | None
    """The 95 % confidence interval of the mean."""


@dataclass(frozen=True)
class Comparison:
    """Of two configurations by their runs with the same seeds."""

    pairs: int
    difference: float
    """The mean of first minus second."""
    interval: tuple[float, float] | None
    p: float | None
    """How often a difference as large would come about where there is none; None: too few pairs."""

    @property
    def distinguishable(self) -> bool:
        return self.p is not None and self.p < 1 - CONFIDENCE


def summarise(values: Sequence[float]) -> Summary:
    """Mean, deviation and Student's interval ("The Probable Error of a Mean", Biometrika 6, 1908), which assumes that
    the runs' values are nearly normal."""
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Summary(count, mean, None, None)
    deviation = statistics.stdev(values)
    return Summary(count, mean, deviation, _interval(mean, deviation, count))


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Student's paired t-test.

    The same seed gives both the same order of the data and, where the shapes agree, the same initial weights, so that
    the differences vary less than the values.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    count, mean = len(differences), statistics.fmean(differences)
    if count < 2:
        return Comparison(count, mean, None, None)
    deviation = statistics.stdev(differences)
    if deviation == 0:
        return Comparison(count, mean, (mean, mean), 1.0 if mean == 0 else 0.0)
    from scipy.special import stdtr

    t = mean / (deviation / math.sqrt(count))
    return Comparison(count, mean, _interval(mean, deviation, count), float(2 * stdtr(count - 1, -abs(t))))


def _interval(mean: float, deviation: float, count: int) -> tuple[float, float]:
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    return mean - half, mean + half
