"""What to try next: grid, random, bayes, each a function of the specification and the trials so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from wandbsweep.spec.conditions import active, grid_points, is_conditional
from wandbsweep.spec.distributions import grid_key
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord

if TYPE_CHECKING:
    import numpy as np


_ASKED_AGAIN = 3
_DRAWN = 1000


class Search(Protocol):
    @property
    def size(self) -> int | None:
        """How many trials there are to give out; None: no end."""

    def draw(self, number: int) -> dict[str, Any] | None:
        """The parameters of trial ``number`` if they depend on nothing but the number; else None."""

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        """The parameters of trial ``number``, given all the other trials.

        ``hurried``: many choose at the same moment, and are neither to wait for a model nor to come to the same.
        """


@dataclass(frozen=True)
class GridSearch:
    """The product of all grids; trial ``n`` is its ``n``-th point, the first axis slowest.

    Because number and point are one, points are unique for as many agents as numbers are.
    """

    axes: Sequence[tuple[str, Sequence[Any]]]

    @property
    def size(self) -> int:
        return math.prod(len(values) for _, values in self.axes)

    def draw(self, number: int) -> dict[str, Any]:
        point = {}
        for name, values in reversed(self.axes):
            number, index = divmod(number, len(values))
            point[name] = values[index]
        return {name: point[name] for name, _ in self.axes}

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        return self.draw(number)


@dataclass(frozen=True)
class ListedGrid:
    """A grid whose points are no product, since some parameters exist under conditions only."""

    points: Sequence[dict[str, Any]]

    @property
    def size(self) -> int:
        return len(self.points)

    def draw(self, number: int) -> dict[str, Any]:
        return dict(self.points[number])

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        return self.draw(number)


@dataclass(frozen=True)
class RandomSearch:
    """One independent draw for each parameter, from a generator seeded by the sweep's seed and the trial's number."""

    spec: SweepSpec
    seed: int
    size: None = None

    def draw(self, number: int) -> dict[str, Any]:
        return active(self.spec.parameters, self.draw_all(number))

    def draw_all(self, number: int) -> dict[str, Any]:
        """The same, parameters whose conditions are not met included."""
        import numpy as np

        rng = np.random.default_rng([self.seed, number])
        return {name: parameter.ppf(float(rng.random())) for name, parameter in self.spec.parameters.items()}

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        return self.draw(number)


@dataclass(frozen=True)
class BayesSearch:
    """A Gaussian process over the trials so far (``wandbsweep.search.bayes``)."""

    spec: SweepSpec
    seed: int
    size: None = None

    def draw(self, number: int) -> None:
        return None

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        import numpy as np

        from wandbsweep.search.bayes import model as bayes
        from wandbsweep.search.pareto import scalarised

        rng = np.random.default_rng([self.seed, number])
        spec = self.spec
        if spec.metrics:
            spec, trials = scalarised(spec, trials, rng)
        suggest = bayes.vary if hurried else bayes.suggest
        if not is_conditional(spec.parameters):
            return suggest(spec, trials, rng=rng)
        return _new_where_active(suggest, spec, trials, rng)


def _new_where_active(
    suggest: Callable[..., dict[str, Any]], spec: SweepSpec, trials: Sequence[TrialRecord], rng: np.random.Generator
) -> dict[str, Any]:
    """A configuration that differs from all ``trials`` in what is active.

    bayes takes two that differ elsewhere for two. So it is told of the one that was no news and asked again, a few
    times; then random draws have to do. Where the space has nothing new, a repetition.
    """
    tried = {grid_key(active(spec.parameters, trial.params)) for trial in trials}
    told = list(trials)
    for _ in range(_ASKED_AGAIN):
        whole = suggest(spec, told, rng=rng)
        found = active(spec.parameters, whole)
        if grid_key(found) not in tried:
            return found
        told.append(TrialRecord(number=-1, state="running", params=whole))
    for _ in range(_DRAWN):
        drawn = {name: parameter.ppf(float(rng.random())) for name, parameter in spec.parameters.items()}
        other = active(spec.parameters, drawn)
        if grid_key(other) not in tried:
            return other
    return found


def make_search(
    spec: SweepSpec,
    *,
    seed: int,
    axes: Mapping[str, Sequence[Any]] | None = None,
    known: Sequence[TrialRecord] = (),
) -> Search:
    """The search that ``spec`` asks for.

    ``axes`` sets a grid's values, order and repetitions literally. ``known``: the trials of ``spec.prior.sweeps``.
    """
    search = _method(spec, seed, axes)
    if spec.prior:
        from wandbsweep.search.priors import PriorSearch

        search = PriorSearch(search, spec, seed, spec.prior.configurations, known)
    if spec.repeats:
        from wandbsweep.search.repeats import RepeatedSearch

        search = RepeatedSearch(search, spec.repeats, spec.goal)
    return search


def _method(spec: SweepSpec, seed: int, axes: Mapping[str, Sequence[Any]] | None) -> Search:
    if spec.method == "random":
        return RandomSearch(spec, seed)
    if spec.method == "bayes":
        return BayesSearch(spec, seed)
    if axes is not None:
        return GridSearch(tuple(axes.items()))
    if is_conditional(spec.parameters):
        return ListedGrid(grid_points(spec.parameters))
    return GridSearch(tuple((name, parameter.grid()) for name, parameter in spec.parameters.items()))
