"""Statistics of several runs of one configuration: mean, spread, confidence, and whether two configurations differ."""

from __future__ import annotations

import math
import re
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


Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)

_SHARES = re.compile(
    r"(acc|accuracy|f1|fbeta|auc|auroc|auprc|roc_auc|map|ap|precision|recall|specificity|sensitivity|iou|miou|jaccard|"
    r"dice|top\d+|em|exact_match|error_rate|wer|cer)"
)
_POSITIVE = re.compile(
    r"(loss|nll|mse|rmse|mae|mape|perplexity|ppl|error|err|bpb|bpc|distance|fid|time|seconds|latency)"
)


def find_bounds(metric: str, values: Sequence[float]) -> Bounds:
    """Return the bounds of ``metric``, as its name says and no value contradicts.

    A share such as an accuracy lies between 0 and 1, or 0 and 100 if it is given in percent; a loss is not negative.
    """
    words = re.split(r"[^a-z0-9]+", metric.lower())
    joined = ["_".join(words[i : i + 2]) for i in range(len(words) - 1)]
    if not values or min(values) < 0:
        return UNBOUNDED
    if any(_SHARES.fullmatch(word) for word in [*words, *joined]) and max(values) <= 100:
        return (0.0, 1.0) if max(values) <= 1 else (0.0, 100.0)
    return (0.0, math.inf) if any(_POSITIVE.fullmatch(word) for word in words) else UNBOUNDED


def summarise(values: Sequence[float], bounds: Bounds = UNBOUNDED) -> Summary:
    """Return mean, deviation and Student's interval ("The Probable Error of a Mean", Biometrika 6, 1908).

    The interval assumes that the runs' values are nearly normal. It stays within ``bounds``: it is computed for the
    mean's logit if there are two of them, and for its logarithm if there is one, with the delta method (A. Agresti,
    "Categorical Data Analysis", 2013, 3.1), and transformed back. So it is not symmetric near a bound.
    """
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Summary(count, mean, None, None)
    deviation = statistics.stdev(values)
    return Summary(count, mean, deviation, _compute_interval(mean, deviation / math.sqrt(count), count, bounds))


def _compute_interval(mean: float, error: float, count: int, bounds: Bounds) -> tuple[float, float]:
    """Return the interval of a mean whose standard error is ``error``."""
    if error == 0:
        return mean, mean
    from scipy.stats import t

    reach, (low, high) = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error, bounds
    if not low < mean < high or math.isinf(low):
        return mean - reach, mean + reach
    if math.isinf(high):
        ratio = _exp(reach / (mean - low))
        return low + (mean - low) / ratio, low + (mean - low) * ratio
    # The derivative of the logit of the mean's place between the bounds.
    odds, ratio = (mean - low) / (high - mean), _exp(reach * (high - low) / ((mean - low) * (high - mean)))
    return low + (high - low) / (1 + ratio / odds), high - (high - low) / (1 + odds * ratio)


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))  # beyond it floats end


def compare(first: Sequence[float], second: Sequence[float], bounds: Bounds = UNBOUNDED) -> Comparison:
    """Return Student's paired t-test.

    The same seed gives both configurations the same order of the data and, if the shapes agree, the same initial
    weights, so that the differences vary less than the values.

    Args:
        first: The values of one configuration.
        second: Those of the other, with the same seeds.
        bounds: The bounds of the values, which also limit the interval of the difference.
    """
    from scipy.stats import ttest_1samp

    differences = [a - b for a, b in zip(first, second, strict=True)]
    count, mean = len(differences), statistics.fmean(differences)
    if count < 2:
        return Comparison(count, mean, None, None)
    if statistics.stdev(differences) == 0:
        return Comparison(count, mean, (mean, mean), 1.0 if mean == 0 else 0.0)
    test = ttest_1samp(differences, 0.0)
    width = bounds[1] - bounds[0]
    error = statistics.stdev(differences) / math.sqrt(count)
    return Comparison(count, mean, _compute_interval(mean, error, count, (-width, width)), float(test.pvalue))
