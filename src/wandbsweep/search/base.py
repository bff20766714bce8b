"""The base class of all search methods, which propose the parameters of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wandbsweep.trial import TrialRecord


class Search:
    """Proposes the parameters of trials.

    A search keeps no state: what it proposes follows from the sweep's configuration and seed, the trial's number and
    the other trials. So every agent computes it by itself, and a resumed sweep continues the same way.

    A subclass implements ``draw`` if parameters follow from the number alone, otherwise ``propose``.
    """

    @property
    def size(self) -> int | None:
        """The number of trials in all; None: unlimited."""
        return None

    def draw(self, number: int) -> dict[str, Any] | None:
        """Return the parameters of trial ``number`` if they follow from the number alone; otherwise None."""
        return None

    def propose(self, number: int, trials: Sequence[TrialRecord], without_model: bool = False) -> dict[str, Any]:
        """Return the parameters of a trial.

        Args:
            number: The trial's number.
            trials: All other trials of the sweep, including those that run.
            without_model: Do not fit a model, because many agents ask at this moment. They must not wait for each
                other's models, and must not all propose the same point.
        """
        params = self.draw(number)
        assert params is not None, "a search without draw has propose"
        return params
