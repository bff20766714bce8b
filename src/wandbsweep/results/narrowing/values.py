"""A list of values, without those that were tried often and are among none of the best trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wandbsweep.spec.distributions import Parameter, grid_key

_SIGNIFICANCE = 0.05


def narrow_values(
    parameter: Parameter, best: Sequence[Any], tried: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, str], bool]:
    """Drop values that no best trial has, if chance alone would leave them out in under 5 % of cases (hypergeometric).

    Args:
        parameter: A parameter with listed values.
        best: The values of the best trials.
        tried: The values of all trials.

    Returns:
        The parameter's configuration, the reasons by its keys, and whether it is unchanged.
    """
    from scipy.stats import hypergeom

    values = list(parameter.values or ())
    keys = [grid_key(value) for value in tried]
    best_keys = {grid_key(value) for value in best}
    kept, dropped = [], []
    for index, value in enumerate(values):
        count = keys.count(grid_key(value))
        chance_of_none = hypergeom.pmf(0, len(keys), count, len(best))
        if grid_key(value) not in best_keys and chance_of_none < _SIGNIFICANCE:
            dropped.append(f"{value} (tried {count} times)")
        else:
            kept.append(index)
    config = parameter.config
    if not dropped:
        return config, {"values": "each is among the best, or was tried too seldom to tell"}, True
    reasons = {"values": f"without {', '.join(dropped)}: never among the {len(best)} best"}
    left = [values[i] for i in kept]
    if parameter.probabilities is None:
        return {"values": left}, reasons, False
    weights = [parameter.probabilities[i] for i in kept]
    total = sum(weights)
    if total <= 0:
        return config, {}, True
    return {**config, "values": left, "probabilities": [w / total for w in weights]}, reasons, False
