"""Partial dependence: the metric that a model of the trials predicts along one parameter, averaged over all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from wandbsweep.results.analysis.fanova import compute_marginals
from wandbsweep.results.analysis.importance import build_features, limit_outliers
from wandbsweep.results.analysis.trial_matrix import Floats, TrialMatrix

_MIN_TRIALS = 8
"""With fewer trials, no dependence is shown."""
_MAX_TRIALS = 1000
_POINTS = 24
_RESAMPLES = 20
_TREES_PER_RESAMPLE = 8
_PERCENTILES = (10.0, 90.0)
_RESCALED = 1e100
"""Values beyond this are not shown: a forest is fitted to rescaled ones."""


@dataclass(frozen=True)
class Dependence:
    """The predicted metric at some values of one parameter; the arrays have one element per value."""

    values: tuple[Any, ...]
    mean: Floats
    low: Floats
    high: Floats
    """The 10th and 90th percentile over resampled trials (bootstrap)."""


def compute_partial_dependence(matrix: TrialMatrix) -> Mapping[str, Dependence]:
    """Return the partial dependence of the metric on each parameter (J. Friedman, Annals of Statistics 29, 2001).

    The model is fANOVA's random forest, fitted to resampled trials; diverged trials count as ``limit_outliers`` says.
    The average is over the whole space, also where no trial is, so the model extrapolates there. Nothing is returned
    without scikit-learn, or for too few trials.
    """
    names = list(matrix.parameters)
    too_large = len(matrix) and np.abs(matrix.values).max() > _RESCALED
    if len(matrix) < _MIN_TRIALS or not names or np.ptp(matrix.values) == 0 or too_large or not find_spec("sklearn"):
        return {}
    x, axes = build_features(matrix, names)
    y = limit_outliers(matrix.losses)
    points = (np.arange(_POINTS) + 0.5) / _POINTS
    rng = np.random.default_rng(0)
    resampled = [
        compute_marginals(x[chosen], y[chosen], axes, points, trees=_TREES_PER_RESAMPLE, seed=index)
        for index in range(_RESAMPLES)
        for chosen in [rng.integers(len(y), size=min(len(y), _MAX_TRIALS))]
    ]
    sign = -1.0 if matrix.goal == "maximize" else 1.0
    by_parameter = [sign * np.array([of[index] for of in resampled]) for index in range(len(names))]
    return {name: _summarize_draws(matrix, name, points, of) for name, of in zip(names, by_parameter, strict=True)}


def _summarize_draws(matrix: TrialMatrix, name: str, points: Floats, predicted: Floats) -> Dependence:
    """Return the mean and the percentiles of the predictions (resamples, points)."""
    parameter = matrix.parameters[name]
    if not matrix.is_ordered(name):
        values = list(parameter.values or ())
        kept = np.arange(len(values))
    elif parameter.values is not None:  # to each number its own equal part of the axis
        values = sorted({float(value): value for value in parameter.values}.values())
        kept = np.array([int((i + 0.5) / len(values) * len(points)) for i in range(len(values))])
    else:
        drawn = [parameter.ppf(float(u)) for u in points]
        kept = np.array([i for i, value in enumerate(drawn) if i == 0 or value != drawn[i - 1]])
        values = [drawn[i] for i in kept]
    low, high = np.percentile(predicted, _PERCENTILES, axis=0)[:, kept]
    return Dependence(tuple(values), predicted.mean(axis=0)[kept], low, high)
