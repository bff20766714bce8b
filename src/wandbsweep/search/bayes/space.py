"""The search space as the model sees it: one column for each parameter that can vary.

A numeric parameter's column is its coordinate in [0, 1] under its own distribution (`Parameter.cdf`), so that log
scales, priors and bounds need no special treatment. Values with steps (integers, `q_*`) are always seen at the step
they round to, as Garrido-Merchan and Hernandez-Lobato (2020) advise. A parameter with listed values is a category: its
column holds an index, and two categories are either equal or one apart. Lists of three or more different numbers are
steps as well. A group of parameters that move together (``zip``) is one column, of its rows of values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandbsweep.spec.constraints import are_met
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.zipped import Groups, join_group
from wandbsweep.trial import is_number

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UNKNOWN = -1.0
"""The coordinate of a category that the space does not know, or that a trial did not have."""
_ENUMERABLE = 40
"""Up to this many steps, a column's values are listed and searched one by one; beyond, they are nearly continuous."""
_REDRAWS = 50
"""How often random points that break a constraint are drawn again."""


class Column:
    """One varying parameter."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.category = False
        self.levels: Floats | None = None
        """Its coordinates if it has few values; otherwise None."""
        self._values: list[Any] = []
        self._shares: Floats | None = None
        if parameter.values:
            self._list_categories(parameter)
        elif not parameter.continuous and parameter.distribution != "constant":
            self._list_steps(parameter)
        self._index = {grid_key(value): k for k, value in enumerate(self._values)}

    def _list_categories(self, parameter: Parameter) -> None:
        listed = parameter.values or ()
        shares: dict[Any, float] = {}
        for value, share in zip(listed, parameter.probabilities or [1.0] * len(listed), strict=True):
            shares[grid_key(value)] = shares.get(grid_key(value), 0.0) + share
        values = {grid_key(value): value for value in listed if shares[grid_key(value)] > 0}
        self._values = list(values.values())
        ordered = _sort_values(self._values) if len(values) > 2 else None
        self.category = ordered is None
        self._values = self._values if ordered is None else ordered
        self.levels = np.arange(len(values), dtype=np.float64)
        if not self.category:
            self.levels = (self.levels + 0.5) / len(values)
        self._shares = np.array([shares[grid_key(value)] for value in self._values])
        self._shares /= self._shares.sum()

    def _list_steps(self, parameter: Parameter) -> None:
        """List the steps by sampling the distribution, which alone knows how it rounds values."""
        step = 1 if parameter.distribution == "int_uniform" else parameter.q
        assert step is not None
        if (parameter.ppf(0.9998) - parameter.ppf(0.0002)) / abs(step) > _ENUMERABLE:
            return
        if parameter.distribution == "int_uniform":  # the usual case, without thousands of calls
            assert parameter.min is not None
            assert parameter.max is not None
            found = dict.fromkeys(range(int(parameter.min), int(parameter.max) + 1))
        else:
            found = {parameter.ppf(u): None for u in ((np.arange(2048) + 0.5) / 2048).tolist()}
        if len(found) <= _ENUMERABLE:
            self._values = list(found)
            self.levels = np.array([self._place(value) for value in found])

    @property
    def varies(self) -> bool:
        return self.parameter.distribution != "constant" and len(self._values) != 1

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of its coordinates; the normal distributions are infinite at 0 and at 1."""
        return (0.002, 0.998) if self.parameter.distribution.endswith("normal") else (0.0, 1.0)

    def _place(self, value: float) -> float:
        p = self.parameter
        if p.distribution == "int_uniform":
            assert p.min is not None
            assert p.max is not None
            u = (value - p.min + 0.5) / (p.max - p.min + 1)
        else:
            u = p.cdf(value)
        return min(max(float(u), 0.0), 1.0)

    def coordinate(self, value: Any) -> float:
        """Return the coordinate of a trial's value.

        A value that this space does not know, from a trial of another sweep, lies in the middle, or is a category that
        equals no other.
        """
        if self._values and (known := self._index.get(grid_key(value))) is not None:
            assert self.levels is not None
            return float(self.levels[known])
        if self.category:
            return UNKNOWN
        return 0.5 if self._shares is not None or not is_number(value) else self._place(value)

    def value(self, coordinate: float) -> Any:
        if self.levels is None:
            return self.parameter.ppf(coordinate)
        return copy.deepcopy(self._values[int(np.argmin(np.abs(self.levels - coordinate)))])

    def snap(self, column: Floats) -> Floats:
        """Return the coordinates (n,) of the values that these coordinates round to."""
        low, high = self.bounds
        if self.levels is not None:
            nearest: Floats = self.levels[np.abs(column[:, None] - self.levels).argmin(1)]
            return nearest
        if self.parameter.continuous:
            return np.clip(column, low, high)
        return np.array([self._place(self.parameter.ppf(u)) for u in np.clip(column, low, high).tolist()])

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        if self.levels is None:
            return rng.random(count)
        if self._shares is not None:
            return rng.choice(self.levels, count, p=self._shares)
        return self.snap(rng.random(count))


def _sort_values(values: Sequence[Any]) -> list[Any] | None:
    """Return listed values in order, if they are numbers; or rows of zipped values whose numbers rise or fall alike."""
    if all(map(is_number, values)):
        return sorted(values)
    if not all(isinstance(value, tuple) for value in values):
        return None
    numeric = [j for j, own in enumerate(zip(*values, strict=True)) if all(map(is_number, own))]
    lead = next((j for j in numeric if len({row[j] for row in values}) == len(values)), None)
    if lead is None:
        return None
    rows = sorted(values, key=lambda row: row[lead])
    steps = [np.diff([row[j] for row in rows]) for j in numeric]
    return rows if all((step >= 0).all() or (step <= 0).all() for step in steps) else None


class Space:
    """The parameters of a sweep as columns of a matrix (trials, columns).

    A column of parameters that move together has the name of the first.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], constraints: Sequence[str] = (), zipped: Groups = ()
    ) -> None:
        self.parameters, self.constraints = parameters, constraints
        self._groups = {group[0]: group for group in zipped}
        followers = {name for group in zipped for name in group[1:]}
        every = {
            name: Column(join_group(parameters, self._groups[name]) if name in self._groups else parameter)
            for name, parameter in parameters.items()
            if name not in followers
        }
        self._fixed = {name: column for name, column in every.items() if not column.varies}
        self.columns = {name: column for name, column in every.items() if column.varies}
        self.categorical: Bools = np.array([c.category for c in self.columns.values()], dtype=bool)
        self.searched: Bools = np.array([c.levels is None for c in self.columns.values()], dtype=bool)
        """The columns that a gradient may move; the others have listed levels."""

    @property
    def dims(self) -> int:
        return len(self.columns)

    @property
    def continuous(self) -> bool:
        """Whether a column fills an interval, so that two draws are never the same."""
        return any(column.parameter.continuous for column in self.columns.values())

    @property
    def size(self) -> float:
        """The number of different configurations; inf if a parameter has more values than are listed."""
        total = 1.0
        for column in self.columns.values():
            total *= math.inf if column.levels is None else len(column.levels)
        return total

    def encode(self, params: Mapping[str, Any]) -> Floats:
        """Return the point (columns,); a parameter that the trial lacks lies in the middle, or equals no category."""
        absent = object()

        def read(name: str) -> Any:
            group = self._groups.get(name)
            return tuple(params.get(n, absent) for n in group) if group else params.get(name, absent)

        return np.array([c.coordinate(read(n)) for n, c in self.columns.items()], dtype=np.float64)

    def decode(self, row: Floats) -> dict[str, Any]:
        """Return the configuration at a point (columns,), constants included."""
        moving = {n: c.value(float(x)) for (n, c), x in zip(self.columns.items(), row, strict=True)}
        fixed = {n: c.parameter.ppf(0.5) for n, c in self._fixed.items()}
        every = {**fixed, **moving}
        for group in self._groups.values():
            every.update(zip(group, every[group[0]], strict=True))
        return {name: every[name] for name in self.parameters}

    def snap(self, x: Floats) -> Floats:
        """Return points (n, columns) moved to the nearest ones that can be run."""
        if not self.dims:
            return x
        return np.stack([c.snap(x[:, j]) for j, c in enumerate(self.columns.values())], axis=1)

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw points (count, columns) from the parameters' own distributions, not snapped.

        They meet the constraints, except for a space in which hardly any point does.
        """
        if not self.dims:
            return np.zeros((count, 0))
        drawn = np.stack([c.draw(count, rng) for c in self.columns.values()], axis=1)
        for _ in range(_REDRAWS):
            wrong = np.flatnonzero(~self.meets_constraints(drawn))
            if not len(wrong):
                break
            drawn[wrong] = np.stack([c.draw(len(wrong), rng) for c in self.columns.values()], axis=1)
        return drawn

    def meets_constraints(self, x: Floats) -> Bools:
        """Return which points (n, columns) meet the sweep's constraints (n,), each at the values it rounds to."""
        if not self.constraints:
            return np.ones(len(x), dtype=bool)
        met = [are_met(self.constraints, self.parameters, self.decode(row)) for row in self.snap(x)]
        return np.array(met, dtype=bool)

    def differences_to(self, point: Floats, others: Floats) -> Floats:
        """Return ``point`` (columns,) less the others (n, columns); categories are 0 or 1 apart."""
        delta: Floats = point[None, :] - others
        delta[:, self.categorical] = delta[:, self.categorical] != 0
        return delta

    def differences(self, a: Floats, b: Floats) -> Floats:
        """Return squared differences (columns, len(a), len(b)); categories are 0 or 1 apart."""
        delta: Floats = a.T[:, :, None] - b.T[:, None, :]
        delta[self.categorical] = delta[self.categorical] != 0
        return delta * delta
