"""The protocol of a search: what it must know to propose the parameters of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from wandbsweep.trial import TrialRecord


class Search(Protocol):
    """Proposes the parameters of trials.

    A search keeps no state of its own: what it proposes follows from the sweep's configuration and seed, the trial's
    number and the other trials. So every agent computes it for itself, and a restarted sweep continues the same way.
    """

    @property
    def size(self) -> int | None:
        """The number of trials in all; None: there is no end."""

    def draw(self, number: int) -> dict[str, Any] | None:
        """Return the parameters of trial ``number`` if they follow from the number alone; otherwise None."""

    def propose(self, number: int, trials: Sequence[TrialRecord], without_model: bool = False) -> dict[str, Any]:
        """Return the parameters of a trial.

        Args:
            number: The trial's number.
            trials: All other trials of the sweep, including those that run.
            without_model: Do not fit a model, because many agents ask at this moment. They must not wait for each
                other's models, and must not all propose the same point.
        """
