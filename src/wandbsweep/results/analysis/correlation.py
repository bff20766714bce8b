"""Correlation: whether a metric rises or falls with each parameter, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wandbsweep.results.analysis.trial_matrix import Floats, Indices, TrialMatrix, rescale_to_square
from wandbsweep.text import pluralize

if TYPE_CHECKING:
    import pandas as pd

_RESAMPLES = 400
_PERCENTILES = (2.5, 97.5)
_MIN_TRIALS = 4
_DIFFERENCE = 0.2
"""Correlations by value and by rank that differ by less are not explained."""

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


def compute_correlation(matrix: TrialMatrix) -> Correlation:
    """Return how each parameter is associated with the metric; positive if the metric rises with the parameter.

    Numbers get Pearson's r of their quantile in their own distribution (so of the logarithm in a logarithmic search),
    and Spearman's rank correlation. Values without an order get the correlation ratio eta (Fisher, 1925: the square
    root of the share of the variance that lies between the values' means), corrected for the number of values as
    epsilon squared is (Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935): with many values and few
    trials, chance alone separates means. Intervals are 95 % percentiles over resampled trials (Efron's bootstrap,
    1979); the ranks are those of the whole sweep in every resample.
    """
    found = {name: _associate(matrix, name) for name in matrix.parameters}
    known = [(name, association) for name, association in found.items() if association is not None]
    return Correlation(matrix.metric, dict(sorted(known, key=lambda item: -abs(item[1].rank))), matrix.warning)


def explain_difference(matrix: TrialMatrix, name: str, association: Association) -> str:
    """Return why a parameter's correlations by value and by rank differ.

    Args:
        matrix: The trials.
        name: The parameter.
        association: Its correlations.

    Returns:
        A sentence without its full stop; empty if the correlations hardly differ.
    """
    difference = abs(association.linear - association.rank)
    if association.kind != "correlation" or difference < _DIFFERENCE:
        return ""
    present = matrix.presence(name)
    x, y = matrix.coordinates(name)[present], matrix.values[present]
    low, high = np.percentile(y, [25, 75])
    is_extreme = (y < low - 1.5 * (high - low)) | (y > high + 1.5 * (high - low))  # Tukey's fences
    without = float(_compute_pearson(x[~is_extreme], y[~is_extreme])) if sum(~is_extreme) >= _MIN_TRIALS else np.nan
    if is_extreme.any() and abs(without - association.rank) < difference / 2:
        trials = [number for number, is_there in zip(matrix.numbers, present, strict=True) if is_there]
        extreme = [str(trials[i]) for i in np.flatnonzero(is_extreme)]
        listed = ", ".join(extreme[:4]) + (", …" if len(extreme) > 4 else "")
        return (
            f"{matrix.metric} is extreme in {pluralize(len(extreme), 'trial')} ({listed}): by value they outweigh the "
            f"others; without them it is {without:+.2f}"
        )
    if abs(association.rank) > abs(association.linear):
        return f"{matrix.metric} changes steadily with {name}, but on a curve: slowly on one side, steeply on the other"
    return f"{matrix.metric} changes much in a part of {name}'s range, and elsewhere chance decides the order"


def _associate(matrix: TrialMatrix, name: str) -> Association | None:
    """Return how a parameter is associated with the metric; None if either does not vary, or too few trials have it."""
    from scipy.stats import rankdata

    present = matrix.presence(name)
    is_ordered = matrix.is_ordered(name)
    x: Any = (matrix.coordinates if is_ordered else matrix.codes)(name)[present]
    y = matrix.values[present]
    if len(y) < _MIN_TRIALS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    labels = [] if is_ordered else [str(value) for value in matrix.parameters[name].values or ()]
    measure = _compute_pearson if is_ordered else _compute_ratio
    x_ranks, y_ranks = rankdata(x) if is_ordered else x, rankdata(y)
    draws = np.random.default_rng(0).integers(len(y), size=(_RESAMPLES, len(y)))
    return Association(
        "correlation" if is_ordered else "correlation ratio",
        float(measure(x, y)),
        _compute_interval(measure(x[draws], y[draws])),
        float(measure(x_ranks, y_ranks)),
        _compute_interval(measure(x_ranks[draws], y_ranks[draws])),
        len(y),
        {label: float(y[x == k].mean()) for k, label in enumerate(labels) if k in x},
    )


def _compute_pearson(x: Floats, y: Floats) -> Floats:
    """Return Pearson's r along the last axis, so of all resamples at once; NaN if either does not vary."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = rescale_to_square(y)
    y = y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.minimum(np.maximum(r, -1.0), 1.0)


def _compute_ratio(codes: Indices, y: Floats) -> Floats:
    """Return the corrected correlation ratio along the last axis; NaN if nothing varies."""
    y = rescale_to_square(y)
    total = np.square(y - y.mean(axis=-1, keepdims=True)).sum(axis=-1)
    within = total * 0.0
    groups = total * 0.0
    for code in np.unique(codes):
        member = codes == code
        count = member.sum(axis=-1, keepdims=True)
        mean = (y * member).sum(axis=-1, keepdims=True) / np.maximum(count, 1)
        within += (np.square(y - mean) * member).sum(axis=-1)
        groups += count[..., 0] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = 1 - (within / (y.shape[-1] - groups)) / (total / (y.shape[-1] - 1))
    ratio: Floats = np.sqrt(squared.clip(0.0, 1.0))
    return ratio


def _compute_interval(resampled: Floats) -> Interval:
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, _PERCENTILES)
    return float(low), float(high)
