"""What a sweep's trials say about its parameters, as arrays: the common ground of all analyses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from wandbsweep.errors import SweepError
from wandbsweep.search.repeats import merged
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.sweep_spec import Goal, SweepSpec
from wandbsweep.text import pluralize
from wandbsweep.trial import TrialRecord, is_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wandbsweep.results.sweep_data import SweepData

FEW = 20
"""Below this many trials an analysis says that it is not to be trusted."""

_LISTED = ("categorical", "categorical_w_probabilities")
_SQUARABLE = 1e100
_MOST_VALUES = 40  # of a listed parameter without an order


@dataclass(frozen=True)
class TrialMatrix:
    """The trials that ended with a value of one metric, in the order of their numbers.

    Stopped trials count with the best value that they reached: leaving them out would leave out most of what is bad.
    With ``repeats`` a configuration counts once, with its mean.
    """

    metric: str
    goal: Goal
    parameters: Mapping[str, Parameter]
    """Those that the sweep varies, by name."""
    numbers: Sequence[int]
    params: Sequence[Mapping[str, Any]]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def losses(self) -> NDArray[np.float64]:
        """The values, less being better."""
        return -self.values if self.goal == "maximize" else self.values

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The positions of the trials, the best first; of equals the earlier one."""
        return np.argsort(self.losses, kind="stable")

    @property
    def warning(self) -> str:
        """Why not to trust what follows from so few; empty where there are enough."""
        if len(self) >= FEW:
            return ""
        return f"Only {pluralize(len(self), 'trial')} with a value: below about {FEW} these numbers are mostly chance."

    def is_ordered(self, name: str) -> bool:
        """Whether more and less mean something for a parameter: numbers, listed ones too."""
        parameter = self.parameters[name]
        return parameter.distribution not in _LISTED or all(map(is_number, parameter.values or ()))

    def coordinates(self, name: str) -> NDArray[np.float64]:
        """An ordered parameter's values as quantiles of its own distribution, in [0, 1]; NaN where a trial has none.

        So each is on the scale that it was searched on: logarithmic where that is.
        """
        parameter = self.parameters[name]
        return np.array([coordinate(parameter, p[name]) if name in p else math.nan for p in self.params], dtype=float)

    def codes(self, name: str) -> NDArray[np.int64]:
        """An unordered parameter's values as positions in its list; -1 where a trial has none."""
        keys = {grid_key(value): index for index, value in enumerate(self.parameters[name].values or ())}
        return np.array([keys.get(grid_key(p[name]), -1) if name in p else -1 for p in self.params], dtype=np.int64)

    def having(self, name: str) -> NDArray[np.bool_]:
        """Which trials have the parameter: a conditional one is not always there."""
        return np.array([name in p for p in self.params], dtype=bool)


def squarable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values``, divided by the largest where their squares would overflow: for what depends on no unit."""
    largest = float(np.abs(values).max(initial=0.0))
    return values / largest if largest > _SQUARABLE else values


def coordinate(parameter: Parameter, value: Any) -> float:
    """Where ``value`` lies in the distribution of an ordered parameter, in [0, 1]: the middle of its own slice."""
    if parameter.values is not None:
        ordered = sorted({float(v) for v in parameter.values})
        return (ordered.index(float(value)) + 0.5) / len(ordered) if float(value) in ordered else math.nan
    if not is_number(value):
        return math.nan
    if parameter.distribution == "int_uniform":
        return (parameter.cdf(value) + parameter.cdf(value - 1)) / 2
    return min(max(parameter.cdf(value), 0.0), 1.0)


def build_trial_matrix(data: SweepData, metric: str | None = None) -> TrialMatrix:
    """The matrix on ``metric``; None: the sweep's own, of several the first. SweepError where there is none."""
    spec = data.spec
    wanted = spec.metrics[0].name if metric is None and spec.metrics else metric
    own = spec.metric.name if spec.metric else None
    goal = find_goal(spec, wanted)
    if wanted is None and own is None:
        raise SweepError(
            f"The sweep {data.sweep_id} has no metric, so nothing says what is better. Name one that it reported: "
            f"{', '.join(sorted({name for t in data.trials for name in t.metrics})) or 'there is none'}."
        )
    parameters = {name: p for name, p in spec.parameters.items() if _varies(p)}
    units = _units(data)
    if wanted is None or wanted == own:
        found = [(t, t.value) for t in units]
    else:
        found = [(t, t.metrics.get(wanted)) for t in units]
    counted = [(t, float(v)) for t, v in found if v is not None and is_number(v)]
    if not counted and metric is not None and metric != own:
        known = sorted({name for t in data.trials for name in t.metrics})
        raise SweepError(f"No trial has a value of {metric!r}. Reported were: {', '.join(known) or 'none'}.")
    return TrialMatrix(
        wanted or str(own),
        goal,
        parameters,
        [t.number for t, _ in counted],
        [t.params for t, _ in counted],
        np.array([v for _, v in counted], dtype=float),
    )


def find_goal(spec: SweepSpec, metric: str | None) -> Goal:
    """Which way ``metric`` is better: as the sweep says of it, or of one of the same end (test/loss, val/loss)."""
    goals = {m.name: m.goal for m in ([spec.metric] if spec.metric else spec.metrics)}
    ends = {name.rpartition("/")[2]: goal for name, goal in goals.items()}
    if metric is None or metric in goals:
        return goals.get(metric or "", spec.goal)
    end = metric.rpartition("/")[2]
    return ends.get(end, "maximize" if end in ("accuracy", "acc", "f1", "auc", "r2") else "minimize")


def _units(data: SweepData) -> list[TrialRecord]:
    units = [merged(c.first.number, c) for c in data.configurations] if data.spec.repeats else data.trials
    ended = (t for t in units if t.state in ("finished", "stopped") and t.params)
    return sorted(ended, key=lambda trial: trial.number)


def _varies(parameter: Parameter) -> bool:
    if parameter.distribution == "constant":
        return False
    if parameter.values is not None:
        return 1 < len({grid_key(value) for value in parameter.values}) <= _MOST_VALUES or (
            len(parameter.values) > 1 and all(map(is_number, parameter.values))
        )
    return bool(parameter.ppf(0.01) != parameter.ppf(0.99))
