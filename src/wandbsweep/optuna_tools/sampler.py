"""This project's Bayesian search as a sampler of Optuna studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.search.bayesian import BayesianSearch
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.sweep_spec import Goal, Metric, SweepSpec
from wandbsweep.trial import State, TrialRecord

_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.RUNNING: "running",
    TrialState.FAIL: "failed",
}


class BayesSampler(BaseSampler):
    """Samples by the Gaussian process of ``method: bayes``; ``wandbsweep.optuna_sampler`` makes it.

    All parameters that trials of the study had are sampled together, so that conditional ones take part in the model:
    a trial uses those that its objective asks for. A parameter that no trial had yet is drawn at random. Pruned and
    running trials count with the values that they reported, failed ones as the worst. Several objectives are weighted
    anew for each trial (ParEGO). Constraints of trials are not read.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = RandomSampler(seed)
        self._seed = int(np.random.default_rng(seed).integers(2**31))

    def reseed_rng(self) -> None:
        """Draw a new seed; Optuna calls this in each of several processes."""
        self._random.reseed_rng()
        self._seed = int(np.random.default_rng().integers(2**31))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return every parameter that a trial of the study had, with its newest distribution."""
        found: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False, states=tuple(_STATES)):
            if other.number != trial.number:
                found |= other.distributions
        return {name: found[name] for name in sorted(found) if not found[name].single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values of the parameters in ``search_space``, which the model chose together.

        Args:
            study: The study, with any number of objectives.
            trial: The trial to sample for.
            search_space: The parameters, by name.
        """
        if not search_space:
            return {}
        columns = {name: _make_column(name, distribution) for name, distribution in search_space.items()}
        goals: list[Goal] = ["maximize" if d == StudyDirection.MAXIMIZE else "minimize" for d in study.directions]
        metrics = tuple(Metric(str(k), goal, value="last") for k, goal in enumerate(goals))
        spec = SweepSpec(
            "bayes",
            {name: column.parameter for name, column in columns.items()},
            metric=metrics[0] if len(metrics) == 1 else None,
            metrics=metrics if len(metrics) > 1 else (),
        )
        known = [
            record
            for other in study.get_trials(deepcopy=False, states=tuple(_STATES))
            if other.number != trial.number and (record := _read_trial(other, columns)).params
        ]
        proposed = BayesianSearch(spec, self._seed).propose(trial.number, known)
        return {name: column.to_optuna(proposed[name]) for name, column in columns.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value: no trial had this parameter yet.

        Args:
            study: The study.
            trial: The trial to sample for.
            param_name: The name of the parameter.
            param_distribution: Its distribution.
        """
        return self._random.sample_independent(study, trial, param_name, param_distribution)


@dataclass(frozen=True)
class _Column:
    """A parameter of Optuna's as one of ours."""

    parameter: Parameter
    from_optuna: Callable[[Any], Any]
    to_optuna: Callable[[Any], Any]


def _make_column(name: str, distribution: BaseDistribution) -> _Column:
    if isinstance(distribution, CategoricalDistribution):
        return _make_category(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution) and distribution.log:
        logarithmic = Parameter(name, "q_log_uniform_values", min=low, max=high, q=1)
        return _Column(logarithmic, int, lambda value: min(max(int(value), low), high))
    if step is None:
        kind = "log_uniform_values" if distribution.log else "uniform"
        return _Column(Parameter(name, kind, min=low, max=high), float, lambda value: min(max(float(value), low), high))
    # W&B's quantised distributions round to multiples of the step; Optuna counts steps from the lower bound.
    steps = Parameter(name, "int_uniform", min=0, max=round((high - low) / step))
    number = float if isinstance(distribution, FloatDistribution) else int
    return _Column(steps, lambda value: round((value - low) / step), lambda k: number(min(low + k * step, high)))


def _make_category(name: str, choices: Sequence[Any]) -> _Column:
    """Numbers stay numbers, since three or more of them have an order; other choices go by their position."""
    numbers = [c for c in choices if isinstance(c, int | float) and not isinstance(c, bool) and math.isfinite(c)]
    if len(set(numbers)) == len(choices):
        return _Column(Parameter(name, "categorical", values=tuple(choices)), lambda value: value, lambda value: value)
    positions = tuple(map(str, range(len(choices))))
    distribution = CategoricalDistribution(choices)
    return _Column(
        Parameter(name, "categorical", values=positions),
        lambda value: str(int(distribution.to_internal_repr(value))),
        lambda position: choices[int(position)],
    )


def _read_trial(trial: FrozenTrial, columns: Mapping[str, _Column]) -> TrialRecord:
    """Return the trial as the search reads it.

    The objective's value stands after the reported values, which may be of another quantity. A completed trial whose
    value is infinite counts as a failed one.
    """
    params = {
        name: columns[name].from_optuna(value)
        for name, value in trial.params.items()
        if name in columns and _contains(trial, name, columns[name])
    }
    state = _STATES[trial.state]
    reports = dict(sorted(trial.intermediate_values.items()))
    values = trial.values if trial.state == TrialState.COMPLETE else []
    if len(values) == 1:
        reports[max(reports, default=-1) + 1] = values[0]
    if not all(map(math.isfinite, values)):
        state = "failed"
    numbers = [value for value in reports.values() if math.isfinite(value)]
    return TrialRecord(
        trial.number,
        state,
        params,
        reports=reports,
        value=numbers[-1] if numbers else None,
        metrics={str(k): value for k, value in enumerate(values)},
    )


def _contains(trial: FrozenTrial, name: str, column: _Column) -> bool:
    """Return whether the trial's parameter is of the column's kind: a study may change the kind of a distribution."""
    listed = column.parameter.values is not None
    return listed == isinstance(trial.distributions[name], CategoricalDistribution)


def optuna_sampler(seed: int | None = None) -> BayesSampler:
    """Return a sampler for Optuna studies that searches as ``method: bayes`` does.

    It works with Optuna's pruners, storages, ``n_jobs`` and several objectives, and in a study that W&B's
    ``wandb sweep-scheduler`` runs. The same seed gives the same parameters, if trials run one after another.

    Args:
        seed: The seed of the search; None: another one each time.
    """
    return BayesSampler(seed)
