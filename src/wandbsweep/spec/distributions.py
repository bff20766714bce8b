"""W&B's distributions: a parameter's values by quantile (ppf), their quantiles (cdf) and its grid.

Values equal those of W&B's engine (PyPI ``sweeps`` 0.3.0) to 1e-12, except where that engine has bugs: at u = 0
``int_uniform`` gives its minimum and ``categorical`` its first value, at u = 1 ``probabilities`` give the
last that can occur, and integers of any size are exact and within their bounds.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from wandbsweep.errors import SweepConfigError

HYDRA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@/-]*")
"""What a parameter may be called: a dotted key, or a config group with ``/`` or ``@``."""

GRID_LIMIT = 1_000_000
"""A grid with more points than this is refused, because it would not fit into memory."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the search space. Fields that its distribution does not use are None."""

    name: str
    """The dotted Hydra key that it overrides."""
    distribution: str
    """W&B's name, a key of ``DISTRIBUTIONS``."""
    value: Any = None
    values: tuple[Any, ...] | None = None
    probabilities: tuple[float, ...] | None = None
    min: int | float | None = None
    max: int | float | None = None
    mu: int | float | None = None
    sigma: int | float | None = None
    q: int | float | None = None
    a: int | float | None = None
    b: int | float | None = None
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Extension: it exists only if each of these parameters has one of these values (``conditions.py``)."""

    def ppf(self, u: float) -> Any:
        """Return the value at quantile ``u`` in [0, 1], as a plain Python object.

        The normal distributions are infinite at the ends. All other values are integers if ``q`` is one.
        """
        u = float(u)
        if not 0.0 <= u <= 1.0:
            raise ValueError(f"The value of `u` is {u}, but must be in [0, 1]")
        return copy.deepcopy(DISTRIBUTIONS[self.distribution].ppf(u, *self._arguments))

    def cdf(self, value: Any) -> float:
        """Return the probability of a value up to and including ``value``: the inverse of ``ppf``.

        Listed values are ordered as in their list. The quantile of a constant is 0.

        Raises:
            ValueError: The parameter has listed values, and ``value`` is none of them.
        """
        if self.values is not None:
            keys = list(map(grid_key, self.values))
            if grid_key(value) not in keys:
                raise ValueError(f"{value!r} is not a value of {self.name}; its values are {list(self.values)}")
            value = keys.index(grid_key(value))
        return DISTRIBUTIONS[self.distribution].cdf(value, *self._arguments)

    def grid(self) -> list[Any]:
        """Return the values that a grid search tries, in order, each once.

        Raises:
            SweepConfigError: The parameter has no grid.
        """
        points = DISTRIBUTIONS[self.distribution].grid
        if points is None or self.grid_fault:
            raise SweepConfigError([f"parameters.{self.name}: {self.grid_fault}"])
        return list({grid_key(value): copy.deepcopy(value) for value in points(*self._arguments)}.values())

    @property
    def grid_fault(self) -> str:
        """Why the parameter has no grid; empty if it has one."""
        if DISTRIBUTIONS[self.distribution].grid is None:
            have = ", ".join(name for name, known in DISTRIBUTIONS.items() if known.grid)
            return f"{self.distribution} has no grid; the distributions that have one are {have}"
        if self.min is not None and self.max is not None and self.max - self.min > GRID_LIMIT * (self.q or 1):
            return f"{self.min} to {self.max} is a grid of more than {GRID_LIMIT:,} points"
        return ""

    @property
    def listed(self) -> tuple[Any, ...] | None:
        """All values in their order, or the only one; None: they are not listed."""
        return (self.value,) if self.distribution == "constant" else self.values

    @property
    def continuous(self) -> bool:
        """Whether the values fill an interval: neither listed, nor integers, nor quantised."""
        return DISTRIBUTIONS[self.distribution].continuous

    @property
    def _arguments(self) -> list[Any]:
        return [getattr(self, key) for key in DISTRIBUTIONS[self.distribution].keys]

    @property
    def config(self) -> dict[str, Any]:
        """The parameter as a W&B mapping, with its distribution and all defaults."""
        spelled = dict(zip(DISTRIBUTIONS[self.distribution].keys, self._arguments, strict=True))
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in spelled.items()}
        condition = {"when": {parent: list(values) for parent, values in self.when}} if self.when else {}
        return {"distribution": self.distribution, **copy.deepcopy(plain), **copy.deepcopy(condition)}


def grid_key(value: Any) -> Hashable:
    """Return a key that is equal for values of one grid point: 1 and 1.0 have one key; 1, True and "1" have three."""
    return _freeze(int(value) if isinstance(value, float) and value.is_integer() else value)


def _freeze(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return "mapping", frozenset((_freeze(key), _freeze(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(map(_freeze, value))
    return type(value).__name__, repr(value)


# -- Values that are listed ------------------------------------------------------------------------


def _categorical_ppf(u: float, values: Sequence[Any]) -> Any:
    return values[_find_slice(u, len(values))]


def _weighted_ppf(u: float, values: Sequence[Any], probabilities: Sequence[float]) -> Any:
    last = max(i for i, probability in enumerate(probabilities) if probability > 0)
    return values[min(bisect_right(list(accumulate(probabilities)), u), last)]


def _weighted_cdf(index: int, values: Sequence[Any], probabilities: Sequence[float]) -> float:
    # ppf takes the first index with u < sum, so the sum itself would already be the next value.
    total = list(accumulate(probabilities))[index]
    return max(0.0, math.nextafter(min(total, 1.0), 0.0))


# -- Integers --------------------------------------------------------------------------------------


def _find_slice(u: float, count: int) -> int:
    """Return which of ``count`` slices of [0, 1] holds ``u``; slices include their upper ends, the first also 0."""
    if count > 2**53:
        numerator, denominator = u.as_integer_ratio()
        index = -(-numerator * count // denominator) - 1
    else:
        index = math.ceil(u * count) - 1
        if index / count >= u:  # u * count was rounded up across the end of a slice
            index -= 1
    return max(0, index)


def _int_uniform_ppf(u: float, low: int, high: int) -> int:
    return low + _find_slice(u, high - low + 1)


def _int_uniform_cdf(value: float, low: int, high: int) -> float:
    count = high - low + 1
    return min(max(math.floor(value) - low + 1, 0), count) / count


# -- Continuous values -----------------------------------------------------------------------------


def _interpolate(u: float, low: float, high: float) -> float:
    low, high = float(low), float(high)
    span = high - low
    value = low + u * span if math.isfinite(span) else low * (1 - u) + high * u
    return min(max(value, low), high)


def _interpolate_inverse(value: float, low: float, high: float) -> float:
    low, high = float(low), float(high)
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _log_uniform_values_ppf(u: float, low: float, high: float) -> float:
    return min(max(_exp(_interpolate(u, math.log(low), math.log(high))), float(low)), float(high))


def _log_uniform_values_cdf(value: float, low: float, high: float) -> float:
    return _interpolate_inverse(_log(value), math.log(low), math.log(high))


def _normal_ppf(u: float, mu: float, sigma: float) -> float:
    from scipy.special import ndtri

    return mu + sigma * float(ndtri(u))


def _normal_cdf(value: float, mu: float, sigma: float) -> float:
    return math.erfc((float(mu) - value) / sigma / math.sqrt(2)) / 2


def _beta_ppf(u: float, a: float, b: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(a, b, u))


def _beta_cdf(value: float, a: float, b: float) -> float:
    from scipy.special import betainc

    return float(betainc(a, b, min(max(value, 0.0), 1.0)))


# -- The table -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Distribution:
    """One of W&B's distributions: its keys in a sweep configuration, and its functions of their values."""

    ppf: Callable[..., Any]
    """From a quantile and the values of ``keys``."""
    cdf: Callable[..., float]
    """From a value, or the position of a listed one, and the values of ``keys``."""
    required: tuple[str, ...] = ()
    defaults: Mapping[str, int | float] = field(default_factory=dict)
    grid: Callable[..., Iterable[Any]] | None = None
    """From the values of ``keys``."""
    continuous: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return *self.required, *self.defaults


def _make_interval(ppf: Callable[..., float], cdf: Callable[..., float]) -> Distribution:
    return Distribution(ppf, cdf, ("min", "max"), continuous=True)


def _quantise(base: Distribution, grid: Callable[..., Iterable[Any]] | None = None) -> Distribution:
    """Return ``base`` rounded half to even to multiples of q; as at W&B, a value may exceed a bound by up to q / 2."""

    def ppf(u: float, *arguments: float) -> float:
        *own, q = arguments
        value: float = base.ppf(u, *own)
        steps = value / q
        return round(steps) * q if math.isfinite(steps) else value

    def cdf(value: float, *arguments: float) -> float:
        return base.cdf(value, *arguments[:-1])

    defaults = {key: int(default) for key, default in base.defaults.items()}  # as at W&B
    return Distribution(ppf, cdf, base.required, {**defaults, "q": 1.0}, grid)


def _q_uniform_grid(low: float, high: float, q: float) -> Iterable[int | float]:
    """Return the grid from min in steps of q, without max. The steps are added as numpy's arange, and so W&B, does."""
    if isinstance(low, int) and isinstance(high, int) and isinstance(q, int):
        return range(low, high, q)
    low, high = float(low), float(high)
    step = (low + q) - low
    return [low + i * step for i in range(math.ceil((high - low) / q))]


_UNIFORM = _make_interval(_interpolate, _interpolate_inverse)
_LOG_UNIFORM = _make_interval(
    lambda u, low, high: _exp(_interpolate(u, low, high)),
    lambda value, low, high: _interpolate_inverse(_log(value), low, high),
)
_INV_LOG_UNIFORM = _make_interval(
    lambda u, low, high: _exp(-_interpolate(1 - u, low, high)),
    lambda value, low, high: 1 - _interpolate_inverse(-_log(value), low, high),
)
_LOG_UNIFORM_VALUES = _make_interval(_log_uniform_values_ppf, _log_uniform_values_cdf)
_NORMAL = Distribution(_normal_ppf, _normal_cdf, (), {"mu": 0.0, "sigma": 1.0}, continuous=True)
_LOG_NORMAL = dataclasses.replace(
    _NORMAL,
    ppf=lambda u, mu, sigma: _exp(_normal_ppf(u, mu, sigma)),
    cdf=lambda value, mu, sigma: _normal_cdf(_log(value), mu, sigma),
)
_BETA = Distribution(_beta_ppf, _beta_cdf, (), {"a": 1, "b": 1}, continuous=True)

DISTRIBUTIONS: Mapping[str, Distribution] = {
    "constant": Distribution(lambda u, own: own, lambda value, own: 0.0, ("value",), grid=lambda own: [own]),
    "categorical": Distribution(
        _categorical_ppf, lambda index, values: (index + 1) / len(values), ("values",), grid=lambda values: values
    ),
    "categorical_w_probabilities": Distribution(_weighted_ppf, _weighted_cdf, ("values", "probabilities")),
    "int_uniform": Distribution(
        _int_uniform_ppf, _int_uniform_cdf, ("min", "max"), grid=lambda low, high: range(low, high + 1)
    ),
    "uniform": _UNIFORM,
    "log_uniform": _LOG_UNIFORM,
    "log_uniform_values": _LOG_UNIFORM_VALUES,
    "inv_log_uniform": _INV_LOG_UNIFORM,
    # Despite the name, W&B gives it the distribution of log_uniform_values: inverted twice.
    "inv_log_uniform_values": _LOG_UNIFORM_VALUES,
    "normal": _NORMAL,
    "log_normal": _LOG_NORMAL,
    "beta": _BETA,
    "q_uniform": _quantise(_UNIFORM, _q_uniform_grid),
    "q_log_uniform": _quantise(_LOG_UNIFORM),
    "q_log_uniform_values": _quantise(_LOG_UNIFORM_VALUES),
    "q_normal": _quantise(_NORMAL),
    "q_log_normal": _quantise(_LOG_NORMAL),
    "q_beta": _quantise(_BETA),
}
"""By W&B's name of the distribution."""
