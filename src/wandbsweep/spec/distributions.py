"""W&B's distributions: a parameter's values by quantile (ppf), their quantiles (cdf) and its grid.

Values equal those of W&B's engine (PyPI ``sweeps`` 0.3.0) to 1e-12, except where that engine has bugs: at u = 0
``int_uniform`` gives its minimum and ``categorical`` its first value, at u = 1 ``probabilities`` give the
last that can occur, and integers of any size are exact and within their bounds.
"""

from __future__ import annotations

import copy
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping
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
        return DISTRIBUTIONS[self.distribution].ppf(self, u)

    def cdf(self, value: Any) -> float:
        """Return the probability of a value up to and including ``value``: the inverse of ``ppf``.

        Listed values are ordered as in their list. The quantile of a constant is 0.

        Raises:
            ValueError: The parameter has listed values, and ``value`` is none of them.
        """
        return DISTRIBUTIONS[self.distribution].cdf(self, value)

    def grid(self) -> list[Any]:
        """Return the values that a grid search tries, in order, each once.

        Raises:
            SweepConfigError: The parameter has no grid.
        """
        points = DISTRIBUTIONS[self.distribution].grid
        if points is None or self.grid_fault:
            raise SweepConfigError([f"parameters.{self.name}: {self.grid_fault}"])
        return list({grid_key(value): copy.deepcopy(value) for value in points(self)}.values())

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
    def continuous(self) -> bool:
        """Whether the values fill an interval: neither listed, nor integers, nor quantised."""
        return DISTRIBUTIONS[self.distribution].continuous

    @property
    def config(self) -> dict[str, Any]:
        """The parameter as a W&B mapping, with its distribution and all defaults."""
        spelled = {key: getattr(self, key) for key in DISTRIBUTIONS[self.distribution].keys}
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


def _constant_ppf(p: Parameter, u: float) -> Any:
    return copy.deepcopy(p.value)


def _constant_cdf(p: Parameter, value: Any) -> float:
    return 0.0


def _constant_grid(p: Parameter) -> list[Any]:
    return [p.value]


def _listed_values(p: Parameter) -> tuple[Any, ...]:
    assert p.values
    return p.values


def _find_position(p: Parameter, value: Any) -> int:
    keys = [grid_key(listed) for listed in _listed_values(p)]
    key = grid_key(value)
    if key not in keys:
        raise ValueError(f"{value!r} is no value of {p.name}; its values are {list(_listed_values(p))}")
    return keys.index(key)


def _categorical_ppf(p: Parameter, u: float) -> Any:
    values = _listed_values(p)
    return copy.deepcopy(values[_find_slice(u, len(values))])


def _categorical_cdf(p: Parameter, value: Any) -> float:
    return (_find_position(p, value) + 1) / len(_listed_values(p))


def _weighted_ppf(p: Parameter, u: float) -> Any:
    assert p.probabilities
    last = max(i for i, probability in enumerate(p.probabilities) if probability > 0)
    index = bisect_right(list(accumulate(p.probabilities)), u)
    return copy.deepcopy(_listed_values(p)[min(index, last)])


def _weighted_cdf(p: Parameter, value: Any) -> float:
    # ppf takes the first index with u < sum, so the sum itself would already be the next value.
    assert p.probabilities
    total = list(accumulate(p.probabilities))[_find_position(p, value)]
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


def _integer_bounds(p: Parameter) -> tuple[int, int]:
    assert isinstance(p.min, int)
    assert isinstance(p.max, int)
    return p.min, p.max


def _int_uniform_ppf(p: Parameter, u: float) -> int:
    low, high = _integer_bounds(p)
    return low + _find_slice(u, high - low + 1)


def _int_uniform_cdf(p: Parameter, value: Any) -> float:
    low, high = _integer_bounds(p)
    count = high - low + 1
    rank: int = math.floor(value) - low + 1
    return min(max(rank, 0), count) / count


def _int_uniform_grid(p: Parameter) -> range:
    low, high = _integer_bounds(p)
    return range(low, high + 1)


# -- Continuous values -----------------------------------------------------------------------------


def _interpolate(low: float, high: float, u: float) -> float:
    span = high - low
    value = low + u * span if math.isfinite(span) else low * (1 - u) + high * u
    return min(max(value, low), high)


def _interpolate_inverse(low: float, high: float, value: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _bounds(p: Parameter) -> tuple[float, float]:
    assert p.min is not None
    assert p.max is not None
    return float(p.min), float(p.max)


def _log_bounds(p: Parameter) -> tuple[float, float]:
    low, high = _bounds(p)
    return math.log(low), math.log(high)


def _uniform_ppf(p: Parameter, u: float) -> float:
    return _interpolate(*_bounds(p), u)


def _uniform_cdf(p: Parameter, value: float) -> float:
    return _interpolate_inverse(*_bounds(p), value)


def _log_uniform_ppf(p: Parameter, u: float) -> float:
    return _exp(_interpolate(*_bounds(p), u))


def _log_uniform_cdf(p: Parameter, value: float) -> float:
    return _interpolate_inverse(*_bounds(p), _log(value))


def _log_uniform_values_ppf(p: Parameter, u: float) -> float:
    low, high = _bounds(p)
    return min(max(_exp(_interpolate(*_log_bounds(p), u)), low), high)


def _log_uniform_values_cdf(p: Parameter, value: float) -> float:
    return _interpolate_inverse(*_log_bounds(p), _log(value))


def _inv_log_uniform_ppf(p: Parameter, u: float) -> float:
    return _exp(-_interpolate(*_bounds(p), 1 - u))


def _inv_log_uniform_cdf(p: Parameter, value: float) -> float:
    return 1 - _interpolate_inverse(*_bounds(p), -_log(value))


def _moments(p: Parameter) -> tuple[float, float]:
    assert p.mu is not None
    assert p.sigma is not None
    return float(p.mu), float(p.sigma)


def _normal_ppf(p: Parameter, u: float) -> float:
    from scipy.special import ndtri

    mu, sigma = _moments(p)
    return mu + sigma * float(ndtri(u))


def _normal_cdf(p: Parameter, value: float) -> float:
    mu, sigma = _moments(p)
    return math.erfc((mu - value) / sigma / math.sqrt(2)) / 2


def _log_normal_ppf(p: Parameter, u: float) -> float:
    return _exp(_normal_ppf(p, u))


def _log_normal_cdf(p: Parameter, value: float) -> float:
    return _normal_cdf(p, _log(value))


def _shape(p: Parameter) -> tuple[float, float]:
    assert p.a is not None
    assert p.b is not None
    return float(p.a), float(p.b)


def _beta_ppf(p: Parameter, u: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(*_shape(p), u))


def _beta_cdf(p: Parameter, value: float) -> float:
    from scipy.special import betainc

    return float(betainc(*_shape(p), min(max(value, 0.0), 1.0)))


# -- Quantised values ------------------------------------------------------------------------------


def _quantise(ppf: Ppf) -> Ppf:
    """Return ``ppf`` rounded half to even to multiples of q; as at W&B, a value may exceed a bound by up to q / 2."""

    def quantised_ppf(p: Parameter, u: float) -> int | float:
        assert p.q is not None
        value: float = ppf(p, u)
        steps = value / p.q
        return round(steps) * p.q if math.isfinite(steps) else value

    return quantised_ppf


def _q_uniform_grid(p: Parameter) -> Iterable[int | float]:
    """Return the grid from min in steps of q, without max. The steps are added as numpy's arange, and so W&B, does."""
    assert p.q is not None
    if isinstance(p.min, int) and isinstance(p.max, int) and isinstance(p.q, int):
        return range(p.min, p.max, p.q)
    low, high = _bounds(p)
    step = (low + p.q) - low
    return [low + i * step for i in range(math.ceil((high - low) / p.q))]


# -- The table -------------------------------------------------------------------------------------

Ppf = Callable[[Parameter, float], Any]
Cdf = Callable[[Parameter, Any], float]
Grid = Callable[[Parameter], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Distribution:
    """One of W&B's distributions: its keys in a sweep configuration, and its functions."""

    ppf: Ppf
    cdf: Cdf
    required: tuple[str, ...] = ()
    defaults: Mapping[str, int | float] = field(default_factory=dict)
    grid: Grid | None = None
    continuous: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return *self.required, *self.defaults


def _make_interval(ppf: Ppf, cdf: Cdf) -> Distribution:
    return Distribution(ppf, cdf, ("min", "max"), continuous=True)


def _make_quantised_interval(ppf: Ppf, cdf: Cdf, grid: Grid | None = None) -> Distribution:
    return Distribution(_quantise(ppf), cdf, ("min", "max"), {"q": 1.0}, grid)


DISTRIBUTIONS: Mapping[str, Distribution] = {
    "constant": Distribution(_constant_ppf, _constant_cdf, ("value",), grid=_constant_grid),
    "categorical": Distribution(_categorical_ppf, _categorical_cdf, ("values",), grid=_listed_values),
    "categorical_w_probabilities": Distribution(_weighted_ppf, _weighted_cdf, ("values", "probabilities")),
    "int_uniform": Distribution(_int_uniform_ppf, _int_uniform_cdf, ("min", "max"), grid=_int_uniform_grid),
    "uniform": _make_interval(_uniform_ppf, _uniform_cdf),
    "log_uniform": _make_interval(_log_uniform_ppf, _log_uniform_cdf),
    "log_uniform_values": _make_interval(_log_uniform_values_ppf, _log_uniform_values_cdf),
    "inv_log_uniform": _make_interval(_inv_log_uniform_ppf, _inv_log_uniform_cdf),
    # Despite the name, W&B gives it the distribution of log_uniform_values: inverted twice.
    "inv_log_uniform_values": _make_interval(_log_uniform_values_ppf, _log_uniform_values_cdf),
    "normal": Distribution(_normal_ppf, _normal_cdf, (), {"mu": 0.0, "sigma": 1.0}, continuous=True),
    "log_normal": Distribution(_log_normal_ppf, _log_normal_cdf, (), {"mu": 0.0, "sigma": 1.0}, continuous=True),
    "beta": Distribution(_beta_ppf, _beta_cdf, (), {"a": 1, "b": 1}, continuous=True),
    "q_uniform": _make_quantised_interval(_uniform_ppf, _uniform_cdf, _q_uniform_grid),
    "q_log_uniform": _make_quantised_interval(_log_uniform_ppf, _log_uniform_cdf),
    "q_log_uniform_values": _make_quantised_interval(_log_uniform_values_ppf, _log_uniform_values_cdf),
    "q_normal": Distribution(_quantise(_normal_ppf), _normal_cdf, (), {"mu": 0, "sigma": 1, "q": 1.0}),
    "q_log_normal": Distribution(_quantise(_log_normal_ppf), _log_normal_cdf, (), {"mu": 0, "sigma": 1, "q": 1.0}),
    "q_beta": Distribution(_quantise(_beta_ppf), _beta_cdf, (), {"a": 1, "b": 1, "q": 1.0}),
}
"""By W&B's name of the distribution."""
