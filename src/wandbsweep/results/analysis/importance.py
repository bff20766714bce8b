"""Importance: how much of a metric follows from each parameter, however crooked the dependence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.fanova import Axis, main_effects
from wandbsweep.results.analysis.trial_matrix import TrialMatrix, squarable

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from wandbsweep.optuna_tools.importance import ParamColumn

Method = Literal["fanova", "ped-anova", "optuna-fanova"]
METHODS: tuple[Method, ...] = ("fanova", "ped-anova", "optuna-fanova")

_LEAST = 4  # trials; a forest of fewer says nothing
_MOST = 2000  # trials for a forest; of more, some
_TREES = 64
_RESAMPLES = 24
_RESAMPLE_TREES = 8
_INTERVAL = (5.0, 95.0)


@dataclass(frozen=True)
class Importance(Mapping[str, float]):
    """Each parameter's importance by name, the largest first."""

    method: Method
    metric: str
    trials: int
    shares: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    """The 5th and 95th percentile over resampled trials (bootstrap): how far chance may have moved a share."""
    warning: str = ""
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> float:
        return self.shares[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shares)

    def __len__(self) -> int:
        return len(self.shares)

    @property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        rows = [(n, share, *self.intervals[n]) for n, share in self.shares.items()]
        return pd.DataFrame(rows, columns=["parameter", "importance", "low", "high"])


def compute_importance(matrix: TrialMatrix, *, method: str | None = None, seed: int = 0) -> Importance:
    """How much of the metric's variation follows from each parameter.

    ``fanova`` (the default where scikit-learn is installed: ``pip install 'wandbsweep[analysis]'``): the share of the
    variance that a parameter explains by itself (``fanova.py``; Hutter et al., 2014). The shares' sum is below 1 by
    what only several parameters explain together, and by noise.

    ``ped-anova`` (else; needs nothing more): how much the best trials' values of the parameter differ from all
    trials', made to sum to 1. Optuna's ``PedAnovaImportanceEvaluator``: S. Watanabe, A. Bansal and F. Hutter,
    "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023.

    ``optuna-fanova``: Optuna's ``FanovaImportanceEvaluator``, with half a minute's patience for 1,000 trials; without
    intervals. Needs scikit-learn.

    Parameters that exist under a condition count as at the middle of their range where they do not exist.
    Raises SweepError for an unknown method, and where what it needs is not installed.
    """
    chosen = _method(method)
    names = list(matrix.parameters)
    notes = ["conditional parameters count as at their middle where they are absent"] if _conditional(matrix) else []
    if len(matrix) < _LEAST or not names or np.ptp(matrix.values) == 0:
        why = matrix.warning or "All trials have the same value, so nothing depends on anything."
        return Importance(chosen, matrix.metric, len(matrix), {}, {}, why, tuple(notes))
    if chosen == "fanova":
        shares, low, high = _by_forest(matrix, names, seed)
    elif chosen == "ped-anova":
        shares, low, high = _by_best(matrix, names, seed)
    else:
        shares = _by_optuna(matrix, names, seed)
        low = high = np.full(len(names), np.nan)
    order = np.argsort(-shares, kind="stable")
    return Importance(
        chosen,
        matrix.metric,
        len(matrix),
        {names[i]: float(shares[i]) for i in order},
        # A share that all trials give lies in its interval, though resampling blurs small ones.
        {names[i]: (float(min(low[i], shares[i])), float(max(high[i], shares[i]))) for i in order},
        matrix.warning,
        tuple(notes),
    )


def _method(method: str | None) -> Method:
    there = find_spec("sklearn") is not None
    if method is None:
        return "fanova" if there else "ped-anova"
    for known in METHODS:
        if known == method:
            if known != "ped-anova" and not there:
                raise SweepError(
                    f"{method} needs scikit-learn, which is not installed: pip install 'wandbsweep[analysis]'. "
                    "ped-anova needs nothing more."
                )
            return known
    raise SweepError(f"The value of `method` is {method!r}; the choices are {', '.join(METHODS)}.")


def _conditional(matrix: TrialMatrix) -> bool:
    return any(name not in params for name in matrix.parameters for params in matrix.params)


def _columns(matrix: TrialMatrix, names: list[str]) -> tuple[NDArray[np.float64], list[Axis]]:
    columns: list[NDArray[np.float64]] = []
    axes = []
    for name in names:
        start = len(columns)
        if matrix.is_ordered(name):
            at = matrix.coordinates(name)
            columns.append(np.where(np.isnan(at), 0.5, at))
        else:
            count = len(matrix.parameters[name].values or ())
            codes = matrix.codes(name)
            columns.extend((codes == k).astype(float) for k in range(count))
        axes.append(Axis(range(start, len(columns)), listed=not matrix.is_ordered(name)))
    return np.stack(columns, axis=1), axes


def _by_forest(matrix: TrialMatrix, names: list[str], seed: int) -> tuple[NDArray[np.float64], ...]:
    x, axes = _columns(matrix, names)
    y = _without_outliers(matrix)
    rng = np.random.default_rng(seed)
    if len(y) > _MOST:
        some = rng.choice(len(y), _MOST, replace=False)
        x, y = x[some], y[some]
    shares = _mean(main_effects(x, y, axes, trees=_TREES, seed=seed), len(names))
    found = []
    for index in range(_RESAMPLES):
        chosen = rng.integers(len(y), size=len(y))
        effects = main_effects(x[chosen], y[chosen], axes, trees=_RESAMPLE_TREES, seed=seed + 1 + index)
        found.append(_mean(effects, len(names)))
    low, high = np.percentile(np.array(found), _INTERVAL, axis=0)
    return shares, low, high


def _without_outliers(matrix: TrialMatrix) -> NDArray[np.float64]:
    """The losses, those beyond Tukey's fence (1.5 interquartile ranges past the upper quartile, 1977) drawn in to it.

    A few diverged trainings at a loss of 1e9 would else be all the variance there is.
    """
    losses = squarable(matrix.losses)
    low, high = np.percentile(losses, [25, 75])
    limit = high + 1.5 * (high - low) if high > low else np.inf
    return np.minimum(losses, limit)


def _mean(effects: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all trees are constants
        mean = np.nanmean(effects, axis=0)
    shares: NDArray[np.float64] = np.nan_to_num(mean.reshape(count))
    return shares


def _by_best(matrix: TrialMatrix, names: list[str], seed: int) -> tuple[NDArray[np.float64], ...]:
    from wandbsweep.optuna_tools.importance import evaluate_ped_anova

    def evaluate(chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        return evaluate_ped_anova(
            [replace(column, values=column.values[chosen]) for column in columns], matrix.losses[chosen]
        )

    columns = _param_columns(matrix, names)
    shares = evaluate(np.arange(len(matrix)))
    draws = np.random.default_rng(seed).integers(len(matrix), size=(_RESAMPLES, len(matrix)))
    low, high = np.percentile(np.array([evaluate(draw) for draw in draws]), _INTERVAL, axis=0)
    return shares, low, high


def _by_optuna(matrix: TrialMatrix, names: list[str], seed: int) -> NDArray[np.float64]:
    from wandbsweep.optuna_tools.importance import evaluate_fanova

    return evaluate_fanova(_param_columns(matrix, names), matrix.losses, seed)


def _param_columns(matrix: TrialMatrix, names: list[str]) -> list[ParamColumn]:
    from wandbsweep.optuna_tools.importance import ParamColumn

    return [
        ParamColumn(name, np.nan_to_num(matrix.coordinates(name), nan=0.5))
        if matrix.is_ordered(name)
        else ParamColumn(name, matrix.codes(name).astype(int), choices=len(matrix.parameters[name].values or ()))
        for name in names
    ]
