"""What a sweep knows before its first trial: configurations to try first, and other sweeps' trials.

An extension of W&B's format: ``prior: {configurations: [{optimizer.lr: 0.001}], sweeps: [outputs/ID]}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.search.make import RandomSearch, Search
from wandbsweep.spec.conditions import active
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord


@dataclass(frozen=True)
class PriorSearch:
    """Another search, after the configurations that are to be tried first, and with the trials of other sweeps.

    What a configuration leaves open is drawn at random, by the sweep's seed and the trial's number.
    """

    inner: Search
    spec: SweepSpec
    seed: int
    configurations: Sequence[Mapping[str, Any]]
    known: Sequence[TrialRecord]

    @property
    def size(self) -> int | None:
        return self.inner.size

    def draw(self, number: int) -> dict[str, Any] | None:
        if number >= len(self.configurations):
            return self.inner.draw(number)
        drawn = RandomSearch(self.spec, self.seed).draw_all(number)
        return active(self.spec.parameters, {**drawn, **self.configurations[number]})

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        return self.inner.propose(number, [*self.known, *trials], hurried)
