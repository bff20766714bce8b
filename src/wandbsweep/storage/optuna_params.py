"""Converts parameters to Optuna's, so that Optuna's tools (its dashboard, its importances) can read a sweep.

The sweep itself never reads these: it stores its values unchanged in an attribute. A parameter for which Optuna has no
distribution is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from wandbsweep.spec.distributions import Parameter
from wandbsweep.storage.base import StoredParam
from wandbsweep.trial import is_number

_TAIL = 1e-6  # where to cut off distributions that have no bounds
_MAX_CHOICES = 100  # Optuna stores all choices with each trial
_MAX_INTEGER = 2**53  # Optuna stores integers as floats, which hold no larger ones


class OptunaParams:
    """One distribution for each parameter, the same for all trials: Optuna refuses a study that mixes them."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        made = {name: _make_distribution(parameter) for name, parameter in parameters.items()}
        self.distributions: dict[str, BaseDistribution] = {name: d for name, d in made.items() if d is not None}
        self._as_json = {name: distribution_to_json(d) for name, d in self.distributions.items()}

    def encode(self, params: Mapping[str, Any]) -> dict[str, StoredParam]:
        """Return ``params`` as Optuna stores them."""
        return {
            name: StoredParam(distribution.to_internal_repr(_convert(distribution, params[name])), self._as_json[name])
            for name, distribution in self.distributions.items()
            if name in params
        }


def _make_distribution(parameter: Parameter) -> BaseDistribution | None:
    if parameter.listed is not None:
        return _make_categorical(parameter.listed)
    if parameter.distribution == "int_uniform":
        return _make_integer(parameter.ppf(0.0), parameter.ppf(1.0))
    # A rounded value may lie outside the bounds, because W&B does not clip.
    slack = parameter.q or 0
    low, high = (parameter.ppf(u) for u in (_TAIL, 1 - _TAIL))
    return _make_float(low - slack, high + slack, log="log" in parameter.distribution)


def _make_categorical(values: Sequence[Any]) -> BaseDistribution | None:
    choices = list(dict.fromkeys(map(_to_choice, values)))
    if len(choices) <= _MAX_CHOICES:
        return CategoricalDistribution(choices)
    if not all(map(is_number, values)):
        return None
    make = _make_integer if all(isinstance(value, int) for value in values) else _make_float
    return make(min(values), max(values))


def _make_integer(low: int, high: int) -> BaseDistribution | None:
    return IntDistribution(low, high) if max(abs(low), abs(high)) <= _MAX_INTEGER else _make_float(low, high)


def _make_float(low: float, high: float, *, log: bool = False) -> BaseDistribution | None:
    if not (is_number(low) and is_number(high)):
        return None
    return FloatDistribution(float(low), float(high), log=log and low > 0)


def _convert(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return min(max(value, distribution.low), distribution.high)
    return _to_choice(value)


def _to_choice(value: Any) -> Any:
    """Return a scalar, as Optuna's choices must be. Booleans become text too, because 1 == True."""
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if plain and not (isinstance(value, float) and math.isnan(value)) else json.dumps(value)
