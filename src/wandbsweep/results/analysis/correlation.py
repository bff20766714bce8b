"""Correlation: whether a metric rises or falls with each parameter, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from wandbsweep.results.analysis.trial_matrix import Floats, Indices, TrialMatrix, rescale_to_square

if TYPE_CHECKING:
    import pandas as pd

_RESAMPLES = 400
_PERCENTILES = (2.5, 97.5)
_MIN_TRIALS = 4

Interval = tuple[float, float]


@dataclass(frozen=True)
class Association:
    """How one parameter is associated with the metric."""

    kind: Literal["correlation", "correlation ratio"]
    """A ratio is for parameters whose values have no order, and has no sign: 0 is no association, 1 a perfect one."""
    linear: float
    """Pearson's r on the parameter's own scale (logarithmic if it was searched so), or the correlation ratio."""
    linear_interval: Interval
    rank: float
    """Spearman's rho, or the correlation ratio of the ranks: a few extreme values cannot move it."""
    rank_interval: Interval
    trials: int
    means: Mapping[str, float] = field(default_factory=dict)
    """The metric's mean for each value of a parameter without an order."""


@dataclass(frozen=True)
class Correlation(Mapping[str, Association]):
    """The association of each parameter, the strongest (by rank) first."""

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
        columns = ["linear", "linear_low", "linear_high", "rank", "rank_low", "rank_high"]
        return pd.DataFrame(rows, columns=["parameter", "kind", *columns, "trials"])


def compute_correlation(matrix: TrialMatrix, *, seed: int = 0) -> Correlation:
    """Return how each parameter is associated with the metric; positive if the metric rises with the parameter.

    Numbers get Pearson's r of their quantile in their own distribution (so of the logarithm in a logarithmic search),
    and Spearman's rank correlation. Values without an order get the correlation ratio eta (Fisher, 1925: the square
    root of the share of the variance that lies between the values' means), corrected for the number of values as
    epsilon squared is (Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935): with many values and few
    trials, chance alone separates means. Intervals are 95 % percentiles over resampled trials (Efron's bootstrap,
    1979); the ranks are those of the whole sweep in every resample.
    """
    found = {}
    for name in matrix.parameters:
        present = matrix.presence(name)
        values = matrix.values[present]
        if len(values) < _MIN_TRIALS or np.ptp(values) == 0:
            continue
        draws = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
        if matrix.is_ordered(name):
            association = _correlate_numbers(matrix.coordinates(name)[present], values, draws)
        else:
            labels = [str(value) for value in matrix.parameters[name].values or ()]
            association = _correlate_categories(matrix.codes(name)[present], labels, values, draws)
        if association is not None:
            found[name] = association
    ordered = sorted(found.items(), key=lambda item: -abs(item[1].rank))
    return Correlation(matrix.metric, dict(ordered), matrix.warning)


def _correlate_numbers(x: Floats, y: Floats, draws: Indices) -> Association | None:
    """Return Pearson's and Spearman's correlation; None if ``x`` does not vary. ``draws`` are resampled positions."""
    from scipy.stats import rankdata

    if np.ptp(x) == 0:
        return None
    x_ranks, y_ranks = rankdata(x), rankdata(y)
    return Association(
        "correlation",
        float(_compute_pearson(x, y)),
        _compute_interval(_compute_pearson(x[draws], y[draws])),
        float(_compute_pearson(x_ranks, y_ranks)),
        _compute_interval(_compute_pearson(x_ranks[draws], y_ranks[draws])),
        len(y),
    )


def _correlate_categories(codes: Indices, labels: list[str], y: Floats, draws: Indices) -> Association | None:
    """Return the correlation ratios of values and of ranks; None if all trials have the same category."""
    from scipy.stats import rankdata

    if len(np.unique(codes)) < 2:
        return None
    ranks = rankdata(y)
    return Association(
        "correlation ratio",
        float(_compute_ratio(codes[None], y[None])[0]),
        _compute_interval(_compute_ratio(codes[draws], y[draws])),
        float(_compute_ratio(codes[None], ranks[None])[0]),
        _compute_interval(_compute_ratio(codes[draws], ranks[draws])),
        len(y),
        {labels[k]: float(y[codes == k].mean()) for k in np.unique(codes) if k >= 0},
    )


def _compute_pearson(x: Floats, y: Floats) -> Floats:
    """Return Pearson's r along the last axis, so of all resamples at once; NaN if either does not vary."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = rescale_to_square(y)
    y = y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    clipped: Floats = np.clip(r, -1.0, 1.0)
    return clipped


def _compute_ratio(codes: Indices, y: Floats) -> Floats:
    """Return the corrected correlation ratio of each row; NaN if nothing varies."""
    y = rescale_to_square(y)
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
    ratio: Floats = np.sqrt(np.clip(squared, 0.0, 1.0))
    return ratio


def _compute_interval(resampled: Floats) -> Interval:
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, _PERCENTILES)
    return float(low), float(high)
