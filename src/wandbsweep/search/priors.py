"""``prior: {configurations: [{optimizer.lr: 0.001}]}``, an extension of W&B's format: configurations to try first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.search.base import Search
from wandbsweep.search.random_draws import RandomSearch
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord


@dataclass(frozen=True)
class PriorSearch(Search):
    """Proposes the given configurations first, then those of another search.

    Parameters that a given configuration omits are drawn at random, from the sweep's seed and the trial's number.
    """

    inner: Search
    spec: SweepSpec
    seed: int
    configurations: Sequence[Mapping[str, Any]]

    @property
    def size(self) -> int | None:
        return self.inner.size

    def draw(self, number: int) -> dict[str, Any] | None:
        if number >= len(self.configurations):
            return self.inner.draw(number)
        return RandomSearch(self.spec, self.seed).complete(number, self.configurations[number])

    def propose(self, number: int, trials: Sequence[TrialRecord], without_model: bool = False) -> dict[str, Any]:
        return self.inner.propose(number, trials, without_model)
