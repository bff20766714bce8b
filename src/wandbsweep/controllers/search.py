"""What to try next: grid, random, bayes, each a function of the specification and the trials so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wandbsweep.spec import SweepSpec
from wandbsweep.trial import TrialRecord


class Search(Protocol):
    @property
    def size(self) -> int | None:
        """How many trials there are to give out; None: no end."""

    def draw(self, number: int) -> dict[str, Any] | None:
        """The parameters of trial ``number`` if they depend on nothing but the number; else None."""

    def propose(self, number: int, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        """The parameters of trial ``number``, given all the other trials."""


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

    def propose(self, number: int, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        return self.draw(number)


@dataclass(frozen=True)
class RandomSearch:
    """One independent draw for each parameter, from a generator seeded by the sweep's seed and the trial's number."""

    spec: SweepSpec
    seed: int
    size: None = None

    def draw(self, number: int) -> dict[str, Any]:
        import numpy as np

        rng = np.random.default_rng([self.seed, number])
        return {name: parameter.ppf(float(rng.random())) for name, parameter in self.spec.parameters.items()}

    def propose(self, number: int, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        return self.draw(number)


@dataclass(frozen=True)
class BayesSearch:
    """A Gaussian process over the trials so far (``wandbsweep.controllers.bayes``)."""

    spec: SweepSpec
    seed: int
    size: None = None

    def draw(self, number: int) -> None:
        return None

    def propose(self, number: int, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        import numpy as np

        from wandbsweep.controllers import bayes

        return bayes.suggest(self.spec, trials, rng=np.random.default_rng([self.seed, number]))


def make_search(spec: SweepSpec, *, seed: int, axes: Mapping[str, Sequence[Any]] | None = None) -> Search:
    """The search that ``spec.method`` names; ``axes`` sets a grid's values, order and repetitions literally."""
    if spec.method == "grid":
        grids = axes if axes is not None else {name: p.grid() for name, p in spec.parameters.items()}
        return GridSearch(tuple(grids.items()))
    return RandomSearch(spec, seed) if spec.method == "random" else BayesSearch(spec, seed)
