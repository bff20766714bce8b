"""A range of numbers narrowed to where the best ones are, in the same distribution or the nearest with bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from wandbsweep.spec.distributions import Parameter

WORTH_IT = 0.85
"""A range that would stay this wide, as a share of the old one, is left alone."""

_EDGE = 0.02
_UNSURE = 0.05
# Of the old range: equal values are no proof that only this one is good, least of all those of a bayes search.
_LEAST = 0.1
_DIGITS = 3
_TRIED = 0.5
_UNTRIED = "too little was tried {} to tell"

# Distributions without bounds, and what has the same scale and some.
_BOUNDED = {
    "normal": "uniform",
    "beta": "uniform",
    "log_normal": "log_uniform_values",
    "q_normal": "q_uniform",
    "q_beta": "q_uniform",
    "q_log_normal": "q_log_uniform_values",
}
# Those whose bounds are exponents of e, and the exponents' sign.
_EXPONENTS = {"log_uniform": 1, "q_log_uniform": 1, "inv_log_uniform": -1}


def narrowed_range(
    parameter: Parameter, best: Sequence[Any], tried: Sequence[Any] = ()
) -> tuple[dict[str, Any], dict[str, str], bool]:
    """The parameter's configuration between the ``best`` values, the reasons by key, and whether it stays as it was.

    ``tried``: the values of all trials. A side that they have left out is not excluded: that the best of a bayes search
    lie together may say where it looked, and nothing of where it did not.
    """
    at = _coordinates(parameter, best)
    low, high = _widened(min(at), max(at), len(best))
    edges = _edges(parameter, min(at), max(at))
    if tried:
        everywhere = _coordinates(parameter, tried)
        lowest_known = _known_bad(low, everywhere)
        highest_known = 1 - _known_bad(1 - high, [1 - u for u in everywhere])
        edges |= {"min": _UNTRIED.format("below")} if lowest_known < low else {}
        edges |= {"max": _UNTRIED.format("above")} if highest_known > high else {}
        low, high = lowest_known, highest_known
    if high - low > WORTH_IT:
        return parameter.config, {"min": edges.get("min", "the best lie all over it")} if _has(parameter) else {}, True
    lowest, highest = min(best), max(best)
    ends = (min(parameter.ppf(low), lowest), max(parameter.ppf(high), highest))
    config = _with_bounds(parameter, *ends)
    shown = {"min": f"the best {len(best)} start at {_short(lowest)}", "max": f"and end at {_short(highest)}"}
    if "min" in parameter.config and parameter.distribution not in _EXPONENTS:
        shown = {key: f"{text} (was {_short(parameter.config[key])})" for key, text in shown.items()}
    for key, text in edges.items():
        shown[key] = f"{shown[key]}; {text}"
    if parameter.distribution in _BOUNDED:
        shown["distribution"] = f"{parameter.distribution} has no bounds"
    return config, shown, False


def _coordinates(parameter: Parameter, values: Sequence[Any]) -> list[float]:
    return [min(max(parameter.cdf(value), 0.0), 1.0) for value in values]


def _known_bad(limit: float, tried: Sequence[float]) -> float:
    """How much of [0, ``limit``] may be left out.

    The longest part from 0 on in which at least half as many trials lie as random draws would have put there.
    """
    ends = sorted({0.0, limit, *(u for u in tried if u < limit)}, reverse=True)
    return next(end for end in ends if sum(u <= end for u in tried) >= _TRIED * len(tried) * end)


def _has(parameter: Parameter) -> bool:
    return "min" in parameter.config


def _widened(low: float, high: float, count: int) -> tuple[float, float]:
    """The range of the law that ``count`` draws between ``low`` and ``high`` leave possible, within [0, 1].

    The range R of k uniform draws is at most the share r of their law's with a chance of k r^(k-1) - (k-1) r^k
    (H. David and H. Nagaraja, "Order Statistics", 2003, 2.3). Where that is 5 %, R / r is the law's length at most,
    with 95 % confidence: 2.9 times as much for 5 draws, 1.5 for 12, 1.1 for 50.
    """
    wide = max((high - low) / _share(count), _LEAST)
    middle = (low + high) / 2
    start = max(0.0, min(middle - wide / 2, low))
    return start, min(1.0, max(middle + wide / 2, high))


def _share(count: int) -> float:
    """The r of ``_widened`` at 5 %, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        r = (low + high) / 2
        chance = count * r ** (count - 1) - (count - 1) * r**count
        low, high = (r, high) if chance < _UNSURE else (low, r)
    return high


def _edges(parameter: Parameter, low: float, high: float) -> dict[str, str]:
    """Whether the best lie at an end of what was searched: the optimum may be beyond it."""
    if parameter.distribution in _BOUNDED:
        return {}
    found = {}
    if low < _EDGE:
        found["min"] = "at the edge: better ones may lie below"
    if high > 1 - _EDGE:
        found["max"] = "at the edge: better ones may lie above"
    return found


def _with_bounds(parameter: Parameter, low: Any, high: Any) -> dict[str, Any]:
    distribution = _BOUNDED.get(parameter.distribution, parameter.distribution)
    q = {"q": parameter.q} if distribution.startswith("q_") else {}
    if parameter.distribution == "int_uniform":
        return {"distribution": distribution, "min": int(low), "max": int(high)}
    if q and parameter.q:
        # A multiple of q stands for what is rounded to it.
        low, high = low - parameter.q / 2, high + parameter.q / 2
        if "log" in distribution:
            low = max(low, parameter.q * 1e-3)
    old = (parameter.min, parameter.max) if parameter.min is not None else (None, None)
    if sign := _EXPONENTS.get(parameter.distribution):
        ends = sorted(sign * math.log(value) for value in (low, high))
        bounds = [_rounded(ends[0], ROUND_FLOOR), _rounded(ends[1], ROUND_CEILING)]
    else:
        bounds = [_rounded(float(low), ROUND_FLOOR), _rounded(float(high), ROUND_CEILING)]
    if old[0] is not None and old[1] is not None:
        bounds = [max(bounds[0], float(old[0])), min(bounds[1], float(old[1]))]
    return {"distribution": distribution, "min": bounds[0], "max": bounds[1], **q}


def _rounded(value: float, towards: str) -> float:
    """To three digits, outwards: what was best stays inside."""
    if value == 0 or not math.isfinite(value):
        return value
    exact = Decimal(repr(value))
    unit = Decimal(1).scaleb(exact.adjusted() - _DIGITS + 1)
    return float(exact.quantize(unit, rounding=towards) if exact != exact.quantize(unit) else exact)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
