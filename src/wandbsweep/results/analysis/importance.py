"""Importance: how much of a metric follows from each parameter, whatever the shape of the dependence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.fanova import Axis, compute_main_effects
from wandbsweep.results.analysis.trial_matrix import Floats, Indices, TrialMatrix, rescale_to_square

if TYPE_CHECKING:
    import pandas as pd

    from wandbsweep.optuna_tools.importance import ParamColumn

_MIN_TRIALS = 4
"""With fewer trials, a forest says nothing."""
_MAX_TRIALS = 2000
"""With more trials, a forest takes too long, and a random choice of them is used."""
_SEED = 0
_TREES = 64
_RESAMPLES = 24
_TREES_PER_RESAMPLE = 8
_PERCENTILES = (5.0, 95.0)

Shares = tuple[Floats, Floats, Floats]
"""Of each parameter: the share, and the low and high end of its interval."""


@dataclass(frozen=True)
class Importance(Mapping[str, float]):
    """Each parameter's importance by name, the largest first."""

    method: str
    metric: str
    trials: int
    shares: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    """The 5th and 95th percentile over resampled trials (bootstrap): how far chance may have moved a share."""
    warning: str = ""
    notes: tuple[str, ...] = ()

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


def compute_importance(matrix: TrialMatrix, *, method: str | None = None) -> Importance:
    """Return how much of the metric's variation follows from each parameter.

    The methods are:

    - ``fanova``: the share of the variance that a parameter explains by itself (``fanova.py``; Hutter et al., 2014).
      The shares sum to less than 1: the rest is explained by several parameters together, or is noise. It needs
      scikit-learn (``pip install 'wandbsweep[analysis]'``).
    - ``ped-anova``: how much the best trials' values of the parameter differ from all trials', scaled to sum to 1.
      Optuna's evaluator: S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
      Importance in Arbitrary Subspaces", IJCAI 2023. It needs nothing more.
    - ``optuna-fanova``: Optuna's implementation of fanova. It takes half a minute for 1,000 trials, has no intervals,
      and needs scikit-learn.

    A conditional parameter counts as at the middle of its range in trials that do not have it.

    Args:
        matrix: The trials.
        method: By default ``fanova`` if scikit-learn is installed, else ``ped-anova``.

    Raises:
        SweepError: For an unknown method, and if what the method needs is not installed.
    """
    chosen = _choose_method(method)
    names = list(matrix.parameters)
    is_conditional = any(name not in params for name in names for params in matrix.params)
    notes = ("conditional parameters count as at their middle where they are absent",) if is_conditional else ()
    if len(matrix) < _MIN_TRIALS or not names or np.ptp(matrix.values) == 0:
        warning = matrix.warning or "All trials have the same value, so nothing depends on anything."
        return Importance(chosen, matrix.metric, len(matrix), {}, {}, warning, notes)
    shares, low, high = METHODS[chosen](matrix, names)
    order = np.argsort(-shares, kind="stable")
    return Importance(
        chosen,
        matrix.metric,
        len(matrix),
        {names[i]: float(shares[i]) for i in order},
        # The share of all trials is always in the interval, though resampling blurs small shares.
        {names[i]: (float(min(low[i], shares[i])), float(max(high[i], shares[i]))) for i in order},
        matrix.warning,
        notes,
    )


def _choose_method(method: str | None) -> str:
    has_sklearn = find_spec("sklearn") is not None
    if method is None:
        return "fanova" if has_sklearn else "ped-anova"
    if method not in METHODS:
        raise SweepError(f"The value of `method` is {method!r}; the choices are {', '.join(METHODS)}.")
    if method != "ped-anova" and not has_sklearn:
        raise SweepError(
            f"{method} needs scikit-learn, which is not installed: pip install 'wandbsweep[analysis]'. "
            "ped-anova needs nothing more."
        )
    return method


# -- fANOVA -----------------------------------------------------------------------------------------------------------


def _compute_fanova(matrix: TrialMatrix, names: list[str]) -> Shares:
    x, axes = build_features(matrix, names)
    y = limit_outliers(matrix.losses)
    rng = np.random.default_rng(_SEED)
    if len(y) > _MAX_TRIALS:
        some = rng.choice(len(y), _MAX_TRIALS, replace=False)
        x, y = x[some], y[some]
    shares = _average_trees(compute_main_effects(x, y, axes, trees=_TREES, seed=_SEED))
    resampled = []
    for index in range(_RESAMPLES):
        chosen = rng.integers(len(y), size=len(y))
        own_seed = _SEED + 1 + index
        effects = compute_main_effects(x[chosen], y[chosen], axes, trees=_TREES_PER_RESAMPLE, seed=own_seed)
        resampled.append(_average_trees(effects))
    low, high = np.percentile(np.array(resampled), _PERCENTILES, axis=0)
    return shares, low, high


def build_features(matrix: TrialMatrix, names: list[str]) -> tuple[Floats, list[Axis]]:
    """Return the columns that a forest is fitted to, and which of them belong to each parameter."""
    columns: list[Floats] = []
    axes = []
    for name in names:
        start = len(columns)
        is_ordered = matrix.is_ordered(name)
        if is_ordered:
            columns.append(np.nan_to_num(matrix.coordinates(name), nan=0.5))
        else:
            codes = matrix.codes(name)
            columns.extend((codes == k).astype(float) for k in range(len(matrix.parameters[name].values or ())))
        axes.append(Axis(range(start, len(columns)), is_categorical=not is_ordered))
    return np.stack(columns, axis=1), axes


def limit_outliers(losses: Floats) -> Floats:
    """Return losses, at most Tukey's upper fence: 1.5 interquartile ranges past the upper quartile (1977).

    They are rescaled if their squares would overflow. Without the fence, a few diverged trainings
    with a loss of 1e9 would make up all of the variance.
    """
    losses = rescale_to_square(losses)
    low, high = np.percentile(losses, [25, 75])
    limit = high + 1.5 * (high - low) if high > low else np.inf
    return np.minimum(losses, limit)


def _average_trees(effects: Floats) -> Floats:
    """Return the mean over the trees that are no constants; 0 if all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no trees
        shares: Floats = np.nan_to_num(np.nanmean(effects, axis=0))
    return shares


# -- Optuna's evaluators ----------------------------------------------------------------------------------------------


def _compute_ped_anova(matrix: TrialMatrix, names: list[str]) -> Shares:
    from wandbsweep.optuna_tools.importance import evaluate_ped_anova

    def evaluate(chosen: Indices) -> Floats:
        return evaluate_ped_anova(_build_param_columns(matrix, names, chosen), matrix.losses[chosen])

    draws = np.random.default_rng(_SEED).integers(len(matrix), size=(_RESAMPLES, len(matrix)))
    low, high = np.percentile(np.array([evaluate(draw) for draw in draws]), _PERCENTILES, axis=0)
    return evaluate(np.arange(len(matrix))), low, high


def _compute_optuna_fanova(matrix: TrialMatrix, names: list[str]) -> Shares:
    from wandbsweep.optuna_tools.importance import evaluate_fanova

    unknown = np.full(len(names), np.nan)
    columns = _build_param_columns(matrix, names, np.arange(len(matrix)))
    return evaluate_fanova(columns, matrix.losses, _SEED), unknown, unknown


def _build_param_columns(matrix: TrialMatrix, names: list[str], chosen: Indices) -> list[ParamColumn]:
    """Return the parameters of the trials at the positions ``chosen``, as Optuna's evaluators take them."""
    from wandbsweep.optuna_tools.importance import ParamColumn

    return [
        ParamColumn(name, np.nan_to_num(matrix.coordinates(name), nan=0.5)[chosen])
        if matrix.is_ordered(name)
        else ParamColumn(name, matrix.codes(name)[chosen], choices=len(matrix.parameters[name].values or ()))
        for name in names
    ]


METHODS: Mapping[str, Callable[[TrialMatrix, list[str]], Shares]] = {
    "fanova": _compute_fanova,
    "ped-anova": _compute_ped_anova,
    "optuna-fanova": _compute_optuna_fanova,
}
"""Each takes the trials and the parameters' names."""
