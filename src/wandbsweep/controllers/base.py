"""The seam between what decides (a controller) and what runs (an agent)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from wandbsweep.trial import Decision, Outcome, Trial


class Controller(Protocol):
    """Decides which trial comes next and which one stops. Safe to use from several threads."""

    def ask(self, agent: str) -> Trial | None:
        """The next trial for ``agent`` to run; None: the sweep gives out no more."""

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        """Take the ``metrics`` that ``trial`` measured at ``step``, and say whether it goes on.

        Reporting a step again replaces what was reported for it before.
        """

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        """Close ``trial``. A trial that somebody else has closed meanwhile is left as it is."""

    def release(self, trial: Trial, reason: str) -> None:
        """Give ``trial`` back unfinished: the next one to ask gets it, with its number and its reports."""

    def close(self) -> None:
        """Let go of the store."""
