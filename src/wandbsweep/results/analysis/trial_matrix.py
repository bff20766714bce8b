"""``TrialMatrix``: the trials as arrays, which all analyses start from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandbsweep.errors import SweepError
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.search.repeats import merge_runs
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.sweep_spec import Goal, SweepSpec
from wandbsweep.text import pluralize, quote_names
from wandbsweep.trial import SUCCEEDED, TrialRecord, is_number

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RELIABLE_TRIALS = 20
"""With fewer trials, an analysis warns that its numbers are mostly chance."""

_CATEGORICAL = ("categorical", "categorical_w_probabilities")
_SQUARE_LIMIT = 1e100
"""Larger values are rescaled before they are squared, which would overflow."""
_MAX_CATEGORIES = 40
"""A categorical parameter with more values is not analysed: each value would have too few trials."""
_MAXIMIZED = ("accuracy", "acc", "f1", "auc", "r2")
"""Last parts of the names of metrics that are better the higher they are."""


@dataclass(frozen=True)
class TrialMatrix:
    """The trials that ended with a value of one metric, in the order of their numbers.

    A stopped trial counts with the best value that it reached, because most of the bad trials are stopped ones. With
    ``repeats`` a configuration counts once, with the mean of its runs.
    """

    metric: str
    goal: Goal
    parameters: Mapping[str, Parameter]
    """The parameters that the sweep varies, by name."""
    numbers: Sequence[int]
    params: Sequence[Mapping[str, Any]]
    values: Floats
    outside: frozenset[int] = frozenset()
    """The numbers of the trials that ended outside ``metric.constraints``, so that they are not among the best."""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def infeasible(self) -> NDArray[np.bool_]:
        """Which trials ended outside ``metric.constraints``."""
        return np.array([number in self.outside for number in self.numbers], dtype=bool)

    @property
    def losses(self) -> Floats:
        """The values, with their sign changed if more is better."""
        return -self.values if self.goal == "maximize" else self.values

    @cached_property
    def order(self) -> Indices:
        """The positions of the trials, the best first and infeasible ones last; of equal ones, the earlier first."""
        return np.lexsort((self.losses, self.infeasible))

    @property
    def warning(self) -> str:
        """Why not to trust an analysis of so few trials; empty if there are enough."""
        if len(self) >= RELIABLE_TRIALS:
            return ""
        trials = pluralize(len(self), "trial")
        return f"Only {trials} with a value: below about {RELIABLE_TRIALS} these numbers are mostly chance."

    def is_ordered(self, name: str) -> bool:
        """Return whether a parameter's values have an order: numbers do, also listed ones."""
        parameter = self.parameters[name]
        return parameter.distribution not in _CATEGORICAL or all(map(is_number, parameter.values or ()))

    def coordinates(self, name: str) -> Floats:
        """Return an ordered parameter's values as quantiles of its distribution, in [0, 1]; NaN if a trial has none.

        So every parameter has the scale on which it was searched, such as a logarithmic one.
        """
        parameter = self.parameters[name]
        return np.array([to_coordinate(parameter, p[name]) if name in p else math.nan for p in self.params], float)

    def codes(self, name: str) -> Indices:
        """Return a categorical parameter's values as positions in its list; -1 if a trial has none."""
        keys = {grid_key(value): index for index, value in enumerate(self.parameters[name].values or ())}
        return np.array([keys.get(grid_key(p[name]), -1) if name in p else -1 for p in self.params], dtype=np.int64)

    def presence(self, name: str) -> NDArray[np.bool_]:
        """Return which trials have a parameter: a conditional one can be absent."""
        return np.array([name in p for p in self.params], dtype=bool)


def rescale_to_square(values: Floats) -> Floats:
    """Return ``values``, divided by the largest if their squares would overflow: for statistics without a unit."""
    largest = float(np.abs(values).max(initial=0.0))
    return values / largest if largest > _SQUARE_LIMIT else values


def to_coordinate(parameter: Parameter, value: Any) -> float:
    """Return where ``value`` lies in the distribution of an ordered parameter, in [0, 1].

    A value that has a probability of its own, such as an integer, lies in the middle of its interval.
    """
    if parameter.values is not None:
        ordered = sorted({float(v) for v in parameter.values})
        return (ordered.index(float(value)) + 0.5) / len(ordered) if float(value) in ordered else math.nan
    if not is_number(value):
        return math.nan
    if parameter.distribution == "int_uniform":
        return (parameter.cdf(value) + parameter.cdf(value - 1)) / 2
    return min(max(parameter.cdf(value), 0.0), 1.0)


def build_trial_matrix(data: SweepData, metric: str | None = None) -> TrialMatrix:
    """Return the trials that have a value of ``metric``, by default the sweep's own or the first of several.

    Raises:
        SweepError: If the sweep has no metric and none is named, or no trial has a value of the named one.
    """
    spec = data.spec
    own = spec.metric.name if spec.metric else None
    name = metric or (spec.objectives[0].name if spec.objectives else None)
    reported = sorted({name for trial in data.trials for name in trial.metrics})
    if name is None:
        raise SweepError(
            f"The sweep {data.sweep_id} has no metric, so it has no order of trials. Name one that was reported: "
            f"{quote_names(reported, empty='there is none')}."
        )
    # The sweep's own metric has a best value, any other only the last one.
    values = [(trial, trial.value if name == own else trial.metrics.get(name)) for trial in _list_units(data)]
    found = [(trial, float(value)) for trial, value in values if value is not None and is_number(value)]
    if not found and metric is not None and metric != own:
        raise SweepError(f"No trial has a value of {metric!r}. Reported were: {quote_names(reported, empty='none')}.")
    return TrialMatrix(
        metric=name,
        goal=find_goal(spec, name),
        parameters={name: parameter for name, parameter in spec.parameters.items() if _is_analysable(parameter)},
        numbers=[trial.number for trial, _ in found],
        params=[trial.params for trial, _ in found],
        values=np.array([value for _, value in found], dtype=float),
        outside=frozenset(trial.number for trial, _ in found if data.is_infeasible(trial)),
    )


def find_goal(spec: SweepSpec, metric: str) -> Goal:
    """Return whether ``metric`` is to be minimized or maximized.

    The sweep says so of its own metrics. Another one has the goal of a metric of the sweep with the same last part
    (``test/loss`` that of ``val/loss``), else what its name suggests.
    """
    goals: dict[str, Goal] = {metric.name: metric.goal for metric in spec.objectives}
    if metric in goals:
        return goals[metric]
    ending = metric.rpartition("/")[2]
    by_ending = {name.rpartition("/")[2]: goal for name, goal in goals.items()}
    return by_ending.get(ending, "maximize" if ending in _MAXIMIZED else "minimize")


def _list_units(data: SweepData) -> Iterator[TrialRecord]:
    """Yield the units that count as one trial, by number: with ``repeats`` configurations, else trials."""
    units = [merge_runs(c.first.number, c) for c in data.configurations] if data.spec.repeats else data.trials
    for trial in sorted(units, key=lambda trial: trial.number):
        if trial.state in SUCCEEDED and trial.params:
            yield trial


def _is_analysable(parameter: Parameter) -> bool:
    """Return whether a parameter varies, and is not categorical with too many values."""
    if parameter.distribution == "constant":
        return False
    if parameter.values is None:
        return bool(parameter.ppf(0.01) != parameter.ppf(0.99))
    if all(map(is_number, parameter.values)):
        return len(parameter.values) > 1
    return 1 < len({grid_key(value) for value in parameter.values}) <= _MAX_CATEGORIES
