"""``method: grid``: every point of the product of the parameters' grids, once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    """A grid whose points are listed: with conditions or constraints they are not a product."""

    points: Sequence[dict[str, Any]]

    @property
    def size(self) -> int:
        return len(self.points)

    def draw(self, number: int) -> dict[str, Any]:
        return dict(self.points[number])


def make_grid_search(spec: SweepSpec, seed: int) -> Search:
    """Make the grid of ``spec``. A grid uses no seed.

    Raises:
        SweepConfigError: No point meets the sweep's constraints, or there are too many to list.
    """
    if spec.constraints:
        points = [p for p in grid_points(spec.parameters) if are_met(spec.constraints, spec.parameters, p)]
        if not points:
            raise SweepConfigError([f"constraints: no point of the grid meets {' and '.join(spec.constraints)}"])
        return ListedGrid(points)
    if is_conditional(spec.parameters):
        return ListedGrid(grid_points(spec.parameters))
    return GridSearch(tuple((name, parameter.grid()) for name, parameter in spec.parameters.items()))
