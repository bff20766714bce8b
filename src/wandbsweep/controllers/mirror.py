"""Our parameters as Optuna's, so that Optuna's own tools (its dashboard, its importances) can read a sweep.

A mirror only: the sweep itself reads the values from ``ledger.PARAMS``, which holds any value exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from wandbsweep.distributions import Parameter

_TAIL = 0.001  # where to cut distributions that have no bounds


def mirrored(
    parameters: Mapping[str, Parameter], params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """``params`` as Optuna's values, and their distributions."""
    values, distributions = {}, {}
    for name, value in params.items():
        values[name], distributions[name] = _mirror(parameters[name], value)
    return values, distributions


def _mirror(parameter: Parameter, value: Any) -> tuple[Any, BaseDistribution]:
    if parameter.distribution in ("constant", "categorical", "categorical_w_probabilities"):
        choices = list(dict.fromkeys(map(_scalar, parameter.values or [value])))
        return _scalar(value), CategoricalDistribution(choices)
    if parameter.distribution == "int_uniform":
        return value, IntDistribution(parameter.ppf(0.0), parameter.ppf(1.0))
    # A rounded value may lie outside the bounds (W&B does not clip), hence the value among them.
    low, high = (float(parameter.ppf(u)) for u in (_TAIL, 1 - _TAIL))
    low, high = min(low, value), max(high, value)
    return value, FloatDistribution(low, high, log="log" in parameter.distribution and low > 0)


def _scalar(value: Any) -> Any:
    """Optuna's choices are scalars, told apart by type: anything else, and booleans beside numbers, as text."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
