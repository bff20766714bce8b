"""``method: grid``: every point of the product of the parameters' grids, once."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wandbsweep.errors import SweepConfigError
from wandbsweep.search.base import Search
from wandbsweep.spec.conditions import grid_points, is_conditional
from wandbsweep.spec.constraints import are_met
from wandbsweep.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class GridSearch(Search):
    """The product of all grids; trial ``n`` is its ``n``-th point, the first parameter slowest.

    A point follows from its number alone. Numbers are unique, so agents never try the same point twice.
    """

    axes: Sequence[tuple[str, Sequence[Any]]]
    """Each parameter's name and grid values."""

    @property
    def size(self) -> int:
        return math.prod(len(values) for _, values in self.axes)

    def draw(self, number: int) -> dict[str, Any]:
        point = {}
        for name, values in reversed(self.axes):
            number, index = divmod(number, len(values))
            point[name] = values[index]
        return {name: point[name] for name, _ in self.axes}


@dataclass(frozen=True)
class ListedGrid(Search):
    """A grid whose points are listed: with conditions, constraints or zipped parameters they are not a product."""

    points: Sequence[dict[str, Any]]

    @property
    def size(self) -> int:
        return len(self.points)

    def draw(self, number: int) -> dict[str, Any]:
        return dict(self.points[number])


@dataclass(frozen=True)
class ShuffledGrid(Search):
    """Another grid in a random order, the same for every agent: each point once, whatever the number of points.

    The order is that of a Fisher-Yates shuffle, of which only the drawn part is computed. Its random numbers are
    hashes of the seed, so that no version of Python changes them.
    """

    grid: Search
    seed: int
    _order: list[int] = field(default_factory=list, repr=False)
    """The points of the trials from 0 on, as far as they were asked for."""
    _moved: dict[int, int] = field(default_factory=dict, repr=False)
    """The point at each place of the shuffled list that no longer holds its own."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def size(self) -> int:
        assert self.grid.size is not None
        return self.grid.size

    def draw(self, number: int) -> dict[str, Any] | None:
        with self._lock:
            for place in range(len(self._order), number + 1):
                other = place + self._draw_integer(place, self.size - place)
                own = self._moved.pop(place, place)
                self._order.append(own if other == place else self._moved.get(other, other))
                if other != place:
                    self._moved[other] = own
            return self.grid.draw(self._order[number])

    def _draw_integer(self, place: int, below: int) -> int:
        digest = hashlib.blake2b(f"{self.seed} {place}".encode()).digest()
        return int.from_bytes(digest) % below  # of 512 bits, so that no remainder is favoured


def make_grid_search(spec: SweepSpec, seed: int) -> Search:
    """Make the grid of ``spec``, which uses ``seed`` only if its order is random.

    Raises:
        SweepConfigError: No point meets the sweep's constraints, or there are too many to list.
    """
    grid = _make_ordered_grid(spec)
    return ShuffledGrid(grid, seed) if spec.order == "random" else grid


def _make_ordered_grid(spec: SweepSpec) -> Search:
    if spec.constraints:
        points = [p for p in grid_points(spec.parameters, spec.zip) if are_met(spec.constraints, spec.parameters, p)]
        if not points:
            raise SweepConfigError([f"constraints: no point of the grid meets {' and '.join(spec.constraints)}"])
        return ListedGrid(points)
    if spec.zip or is_conditional(spec.parameters):
        return ListedGrid(grid_points(spec.parameters, spec.zip))
    return GridSearch(tuple((name, parameter.grid()) for name, parameter in spec.parameters.items()))
