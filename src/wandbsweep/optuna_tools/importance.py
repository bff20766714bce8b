"""Optuna's evaluators of parameter importance on any table of numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.importance import BaseImportanceEvaluator


@dataclass(frozen=True)
class ParamColumn:
    """The values of one parameter."""

    name: str
    values: NDArray[np.float64] | NDArray[np.int64]
    """One per trial: in [0, 1], or the number of a choice, -1 if there is none."""
    choices: int | None = None
    """How many choices there are; None: the values are in [0, 1]."""

    def make_distribution(self) -> BaseDistribution:
        return FloatDistribution(0.0, 1.0) if self.choices is None else CategoricalDistribution(range(-1, self.choices))


def evaluate_ped_anova(columns: Sequence[ParamColumn], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each column's importance for a small loss, with the sum 1 (``PedAnovaImportanceEvaluator``)."""
    found = _evaluate(PedAnovaImportanceEvaluator(), columns, losses)
    total = found.sum()
    return found / total if total > 0 else np.zeros(len(columns))


def evaluate_fanova(columns: Sequence[ParamColumn], losses: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return each column's share of the losses' variance (``FanovaImportanceEvaluator``). Needs scikit-learn."""
    return _evaluate(FanovaImportanceEvaluator(seed=seed), columns, losses)


def _evaluate(
    evaluator: BaseImportanceEvaluator, columns: Sequence[ParamColumn], losses: NDArray[np.float64]
) -> NDArray[np.float64]:
    distributions = {column.name: column.make_distribution() for column in columns}
    values = {column.name: column.values.tolist() for column in columns}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental features
            study = optuna.create_study()
            study.add_trials(
                [
                    optuna.trial.create_trial(
                        params={name: values[name][i] for name in values}, distributions=distributions, value=loss
                    )
                    for i, loss in enumerate(losses.tolist())
                ]
            )
            found = evaluator.evaluate(study)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return np.array([float(found.get(column.name, 0.0)) for column in columns])
