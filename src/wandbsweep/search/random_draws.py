"""``method: random``: independent draws from the parameters' distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wandbsweep.search.base import Search
from wandbsweep.spec.conditions import select_active
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.sweep_spec import SweepSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RandomSearch(Search):
    """One draw for each parameter, from a generator seeded with the sweep's seed and the trial's number."""

    spec: SweepSpec
    seed: int

    def draw(self, number: int) -> dict[str, Any]:
        return select_active(self.spec.parameters, self.draw_all(number))

    def draw_all(self, number: int) -> dict[str, Any]:
        """Return the draw of every parameter, including those whose conditions are not met."""
        import numpy as np

        return draw_parameters(self.spec.parameters, np.random.default_rng([self.seed, number]))


def draw_parameters(parameters: Mapping[str, Parameter], rng: np.random.Generator) -> dict[str, Any]:
    """Draw a value for each parameter; conditions are not considered."""
    return {name: parameter.ppf(float(rng.random())) for name, parameter in parameters.items()}
