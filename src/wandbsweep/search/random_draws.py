"""``method: random``: independent draws from the parameters' distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wandbsweep.search.base import Search
from wandbsweep.spec.conditions import select_active
from wandbsweep.spec.constraints import DRAWS, are_met
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.zipped import Groups, draw_together, put_values

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RandomSearch(Search):
    """One draw for each parameter, from a generator seeded with the sweep's seed and the trial's number."""

    spec: SweepSpec
    seed: int

    def draw(self, number: int) -> dict[str, Any]:
        return self.complete(number, {})

    def complete(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the trial's draw with the ``given`` values, drawn again until it meets the sweep's constraints."""
        import numpy as np

        rng, spec = np.random.default_rng([self.seed, number]), self.spec
        for _ in range(DRAWS):
            drawn = draw_parameters(spec.parameters, spec.zip, rng)
            found = select_active(spec.parameters, put_values(spec.parameters, spec.zip, drawn, given))
            if are_met(spec.constraints, spec.parameters, found):
                break
        return found


def draw_parameters(parameters: Mapping[str, Parameter], zipped: Groups, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a value for each parameter; conditions are not considered.

    Args:
        parameters: The parameters.
        zipped: Those that move together.
        rng: The generator.
    """
    return draw_together(parameters, zipped, lambda: float(rng.random()))
