"""Our parameters as Optuna's, so that Optuna's own tools (its dashboard, its importances) can read a sweep.

A mirror only: the sweep itself reads the values from ``ledger.PARAMS``, which holds any value exactly. What Optuna
has no distribution for is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from wandbsweep.spec.distributions import Parameter
from wandbsweep.trial import is_number

_TAIL = 1e-6  # where to cut distributions that have no bounds
_MOST_CHOICES = 100  # Optuna writes all of them down with each trial
_EXACT = 2**53  # the integers that a float holds, as which Optuna stores them


class Mirror:
    """One distribution for each parameter, the same for all trials: Optuna refuses a study that mixes them."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        made = {name: _distribution(parameter) for name, parameter in parameters.items()}
        self._distributions = {name: d for name, d in made.items() if d is not None}

    def of(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """``params`` as Optuna's values, and their distributions."""
        known = {name: d for name, d in self._distributions.items() if name in params}
        return {name: _mirrored(d, params[name]) for name, d in known.items()}, known


def _distribution(parameter: Parameter) -> BaseDistribution | None:
    if parameter.distribution in ("constant", "categorical", "categorical_w_probabilities"):
        return _choices(list(parameter.values or [parameter.value]))
    if parameter.distribution == "int_uniform":
        return _whole(parameter.ppf(0.0), parameter.ppf(1.0))
    # A rounded value may lie outside the bounds (W&B does not clip).
    slack = parameter.q or 0
    low, high = (parameter.ppf(u) for u in (_TAIL, 1 - _TAIL))
    return _real(low - slack, high + slack, log="log" in parameter.distribution)


def _choices(values: list[Any]) -> BaseDistribution | None:
    choices = list(dict.fromkeys(map(_scalar, values)))
    if len(choices) <= _MOST_CHOICES:
        return CategoricalDistribution(choices)
    if not all(map(is_number, values)):
        return None
    kind = _whole if all(isinstance(value, int) for value in values) else _real
    return kind(min(values), max(values))


def _whole(low: int, high: int) -> BaseDistribution | None:
    return IntDistribution(low, high) if max(abs(low), abs(high)) <= _EXACT else _real(low, high)


def _real(low: float, high: float, *, log: bool = False) -> BaseDistribution | None:
    if not (is_number(low) and is_number(high)):
        return None
    return FloatDistribution(float(low), float(high), log=log and low > 0)


def _mirrored(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return min(max(value, distribution.low), distribution.high)
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """Optuna's choices are scalars, told apart by type: anything else, and booleans beside numbers, as text."""
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if plain and not (isinstance(value, float) and math.isnan(value)) else json.dumps(value)
