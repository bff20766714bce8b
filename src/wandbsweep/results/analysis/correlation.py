"""Correlation: whether a metric goes up or down with each parameter, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from wandbsweep.results.analysis.trial_matrix import TrialMatrix, squarable

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_RESAMPLES = 400
_INTERVAL = (2.5, 97.5)
_LEAST = 4

Interval = tuple[float, float]


@dataclass(frozen=True)
class Association:
    """How one parameter goes along with the metric."""

    kind: Literal["correlation", "correlation ratio"]
    """A ratio, of a parameter whose values have no order, has no sign: 0 nothing, 1 everything."""
    linear: float
    """Pearson's r on the parameter's own scale (logarithmic where it was searched so), or the correlation ratio."""
    linear_interval: Interval
    rank: float
    """Spearman's rho, or the correlation ratio of the ranks: what a few extreme values cannot move."""
    rank_interval: Interval
    trials: int
    means: Mapping[str, float] = field(default_factory=dict)
    """Of a parameter without order: the metric's mean for each value."""


@dataclass(frozen=True)
class Correlation(Mapping[str, Association]):
    """By parameter, the strongest (by rank) first."""

    metric: str
    associations: Mapping[str, Association]
    warning: str = ""

    def __getitem__(self, name: str) -> Association:
        return self.associations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.associations)

    def __len__(self) -> int:
        return len(self.associations)

    @property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        rows = [
            (name, a.kind, a.linear, *a.linear_interval, a.rank, *a.rank_interval, a.trials)
            for name, a in self.associations.items()
        ]
        ends = ["linear", "linear_low", "linear_high", "rank", "rank_low", "rank_high"]
        return pd.DataFrame(rows, columns=["parameter", "kind", *ends, "trials"])


def compute_correlation(matrix: TrialMatrix, *, seed: int = 0) -> Correlation:
    """The correlation of each parameter with the metric, positive where the metric rises with the parameter.

    Of numbers: Pearson's r of the value's place in its own distribution (so of the logarithm where the search was
    logarithmic), and Spearman's rank correlation. Of values without an order: the correlation ratio eta (Fisher, 1925:
    the root of the share of the variance that lies between the values' means), corrected for the number of values as
    epsilon squared is (Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935), since with many values and few
    trials chance alone separates means; it has no sign. The intervals are 95 % percentiles over resampled trials
    (Efron's bootstrap, 1979); ranks are not taken anew in each.
    """
    found = {}
    for name in matrix.parameters:
        there = matrix.having(name)
        if there.sum() < _LEAST or np.ptp(matrix.values[there]) == 0:
            continue
        y = matrix.values[there]
        draws = np.random.default_rng(seed).integers(len(y), size=(_RESAMPLES, len(y)))
        association = (
            _ordered(matrix.coordinates(name)[there], y, draws)
            if matrix.is_ordered(name)
            else _listed(matrix, name, there, y, draws)
        )
        if association is not None:
            found[name] = association
    ordered = sorted(found.items(), key=lambda item: -abs(item[1].rank))
    return Correlation(matrix.metric, dict(ordered), matrix.warning)


def _ordered(x: NDArray[np.float64], y: NDArray[np.float64], draws: NDArray[np.int64]) -> Association | None:
    if np.ptp(x) == 0:
        return None
    ranks = _ranks(x), _ranks(y)
    return Association(
        "correlation",
        float(_pearson(x, y)),
        _interval(_pearson(x[draws], y[draws])),
        float(_pearson(*ranks)),
        _interval(_pearson(ranks[0][draws], ranks[1][draws])),
        len(y),
    )


def _listed(
    matrix: TrialMatrix, name: str, there: NDArray[np.bool_], y: NDArray[np.float64], draws: NDArray[np.int64]
) -> Association | None:
    codes = matrix.codes(name)[there]
    if len(np.unique(codes)) < 2:
        return None
    ranks = _ranks(y)
    values = matrix.parameters[name].values or ()
    return Association(
        "correlation ratio",
        float(_ratio(codes[None], y[None])[0]),
        _interval(_ratio(codes[draws], y[draws])),
        float(_ratio(codes[None], ranks[None])[0]),
        _interval(_ratio(codes[draws], ranks[draws])),
        len(y),
        {str(values[k]): float(y[codes == k].mean()) for k in np.unique(codes) if k >= 0},
    )


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis; NaN where one does not vary."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = squarable(y)
    y = y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: NDArray[np.float64] = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    clipped: NDArray[np.float64] = np.clip(r, -1.0, 1.0)
    return clipped


def _ratio(codes: NDArray[np.int64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corrected correlation ratio of each row; NaN where nothing varies."""
    y = squarable(y)
    n = y.shape[1]
    total = np.square(y - y.mean(axis=1, keepdims=True)).sum(axis=1)
    within = total * 0.0
    groups = np.zeros(len(y))
    for code in np.unique(codes):
        member = codes == code
        count = member.sum(axis=1)
        groups += count > 0
        mean = (y * member).sum(axis=1) / np.maximum(count, 1)
        within += (np.square(y - mean[:, None]) * member).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = 1 - (within / (n - groups)) / (total / (n - 1))
    ratio: NDArray[np.float64] = np.sqrt(np.clip(squared, 0.0, 1.0))
    return ratio


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1; ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _interval(resampled: NDArray[np.float64]) -> Interval:
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, _INTERVAL)
    return float(low), float(high)
