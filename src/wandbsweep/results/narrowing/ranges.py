"""A range of numbers narrowed to where the best ones are, in the same distribution or the nearest with bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from wandbsweep.results.analysis.natural_ends import is_natural_end
from wandbsweep.spec.distributions import Parameter

MAX_WIDTH = 0.85
"""A range that would stay wider than this, as a share of the old one, is left alone."""

_EDGE_SHARE = 0.02
_SIGNIFICANCE = 0.05
_MIN_WIDTH = 0.1
"""As a share of the old range. Equal values do not prove that only this one is good, least of all in a bayes search."""
_DIGITS = 3
_MIN_DENSITY = 0.5
"""A side is known to be bad if it has at least this share of the trials that random draws would have put there."""
_UNTRIED = "too little was tried {} to tell"

# Distributions without bounds, and the bounded ones on the same scale.
_BOUNDED = {
    "normal": "uniform",
    "beta": "uniform",
    "log_normal": "log_uniform_values",
    "q_normal": "q_uniform",
    "q_beta": "q_uniform",
    "q_log_normal": "q_log_uniform_values",
}
# Distributions whose bounds are exponents of e, and the exponents' sign.
_EXPONENTS = {"log_uniform": 1, "q_log_uniform": 1, "inv_log_uniform": -1}


def narrow_range(
    parameter: Parameter, best: Sequence[Any], tried: Sequence[Any] = ()
) -> tuple[dict[str, Any], dict[str, str], bool]:
    """Narrow a range to that of the best values, widened because few values do not determine it exactly.

    Everything happens on the parameter's own scale, as quantiles of its distribution, and within the old range.

    Args:
        parameter: A parameter without listed values.
        best: The values of the best trials.
        tried: The values of all trials. A side with few of them is kept: the best trials of a bayes search may lie
            together only because it searched nowhere else.

    Returns:
        The parameter's configuration, the reasons by its keys, and whether it is unchanged.
    """
    at = _list_quantiles(parameter, best)
    low, high = _widen(min(at), max(at), len(best))
    remarks = _describe_edges(parameter, min(at), max(at))
    if tried:
        everywhere = _list_quantiles(parameter, tried)
        known_low = _find_known_end(low, everywhere)
        known_high = 1 - _find_known_end(1 - high, [1 - u for u in everywhere])
        remarks |= {"min": _UNTRIED.format("below")} if known_low < low else {}
        remarks |= {"max": _UNTRIED.format("above")} if known_high > high else {}
        low, high = known_low, known_high
    has_bounds = "min" in parameter.config
    if high - low > MAX_WIDTH:
        return parameter.config, {"min": remarks.get("min", "the best lie all over it")} if has_bounds else {}, True
    lowest, highest = min(best), max(best)
    config = _set_bounds(parameter, min(parameter.ppf(low), lowest), max(parameter.ppf(high), highest))
    reasons = {"min": f"the best {len(best)} start at {_format(lowest)}", "max": f"and end at {_format(highest)}"}
    if has_bounds and parameter.distribution not in _EXPONENTS:
        reasons = {key: f"{text} (was {_format(parameter.config[key])})" for key, text in reasons.items()}
    for key, text in remarks.items():
        reasons[key] = f"{reasons[key]}; {text}"
    if parameter.distribution in _BOUNDED:
        reasons["distribution"] = f"{parameter.distribution} has no bounds"
    return config, reasons, False


def _list_quantiles(parameter: Parameter, values: Sequence[Any]) -> list[float]:
    return [min(max(parameter.cdf(value), 0.0), 1.0) for value in values]


def _widen(low: float, high: float, count: int) -> tuple[float, float]:
    """Return the range of a uniform distribution that ``count`` draws between ``low`` and ``high`` leave possible.

    The range R of k uniform draws, as a share of their distribution's, is Beta(k - 1, 2) distributed (H. David and
    H. Nagaraja, "Order Statistics", 2003, 2.3). If r is its 5 % quantile, R / r is an upper limit of the
    distribution's length with 95 % confidence: 2.9 R for 5 draws, 1.5 R for 12, 1.1 R for 50. The result is in [0, 1].
    """
    from scipy.special import betaincinv

    share = float(betaincinv(count - 1, 2, _SIGNIFICANCE))
    width = max((high - low) / share, _MIN_WIDTH)
    middle = (low + high) / 2
    start = max(0.0, min(middle - width / 2, low))
    return start, min(1.0, max(middle + width / 2, high))


def _find_known_end(limit: float, tried: Sequence[float]) -> float:
    """Return how much of [0, ``limit``] may be left out.

    It is the longest part from 0 on with enough trials (``_MIN_DENSITY``) to know that it is bad.
    """
    ends = sorted({0.0, limit, *(u for u in tried if u < limit)}, reverse=True)
    return next(end for end in ends if sum(u <= end for u in tried) >= _MIN_DENSITY * len(tried) * end)


def _describe_edges(parameter: Parameter, low: float, high: float) -> dict[str, str]:
    """Return a remark for each end of the searched range that the best reach, if the optimum may lie beyond it."""
    if parameter.distribution in _BOUNDED:
        return {}
    found = {}
    if low < _EDGE_SHARE and not is_natural_end(parameter, "lower"):
        found["min"] = "at the edge: better ones may lie below"
    if high > 1 - _EDGE_SHARE and not is_natural_end(parameter, "upper"):
        found["max"] = "at the edge: better ones may lie above"
    return found


def _set_bounds(parameter: Parameter, low: Any, high: Any) -> dict[str, Any]:
    """Return the configuration of a distribution like the parameter's, from ``low`` to ``high``."""
    distribution = _BOUNDED.get(parameter.distribution, parameter.distribution)
    q = {"q": parameter.q} if distribution.startswith("q_") else {}
    if parameter.distribution == "int_uniform":
        return {"distribution": distribution, "min": int(low), "max": int(high)}
    if q and parameter.q:
        # A multiple of q is what everything within q / 2 is rounded to.
        low, high = low - parameter.q / 2, high + parameter.q / 2
        if "log" in distribution:
            low = max(low, parameter.q * 1e-3)
    if sign := _EXPONENTS.get(parameter.distribution):
        low, high = sorted(sign * math.log(value) for value in (low, high))
    bounds = [_round(float(low), ROUND_FLOOR), _round(float(high), ROUND_CEILING)]
    if parameter.min is not None and parameter.max is not None:
        bounds = [max(bounds[0], float(parameter.min)), min(bounds[1], float(parameter.max))]
    return {"distribution": distribution, "min": bounds[0], "max": bounds[1], **q}


def _round(value: float, direction: str) -> float:
    """Round outwards to three digits, so that the best values stay inside."""
    if value == 0 or not math.isfinite(value):
        return value
    exact = Decimal(repr(value))
    unit = Decimal(1).scaleb(exact.adjusted() - _DIGITS + 1)
    return float(exact.quantize(unit, rounding=direction) if exact != exact.quantize(unit) else exact)


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
