"""The seam between what decides (a controller) and what runs (an agent)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from wandbsweep.trial import Decision, Outcome, Trial, TrialRecord

if TYPE_CHECKING:
    from wandbsweep.controllers.completion import Completion


class Controller(Protocol):
    """Decides which trial comes next and which one stops. Safe to use from several threads."""

    def ask(self, agent: str) -> Trial | None:
        """The next trial for ``agent`` to run; None: the sweep gives it no more."""

    def ready(self, agent: str) -> bool:
        """Whether ``ask`` answers at once. Else it waits: the sweep is paused, or others' trials may be lost."""

    def wait_s(self, agent: str) -> float:
        """How long ``agent`` should wait before it asks, in seconds: more than 0 where it fails what it is given."""

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        """Take the ``metrics`` that ``trial`` measured at ``step``, and say whether it goes on.

        Reporting a step again replaces what was reported for it before.
        """

    def check(self, trial: Trial) -> Decision:
        """What was decided about ``trial`` since it last reported: a stop where it was cancelled or lost."""

    def owns(self, trial: Trial) -> bool:
        """Whether ``trial`` is still that of who asked for it; else nothing that it does counts any more."""

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        """Close ``trial``. A trial that somebody else has closed meanwhile is left as it is."""

    def release(self, trial: Trial, reason: str) -> None:
        """Give ``trial`` back unfinished: the next one to ask gets it, with its number and its reports."""

    def crash(self, trial: Trial, reason: str) -> None:
        """The process that ran ``trial`` died: it is given out again, or stays ``crashed`` after too many attempts."""

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        """Whether a failed ``trial`` was given to another agent, since this one's node may be to blame."""

    def close(self) -> None:
        """Let go of the store."""


class SweepController(Controller, Protocol):
    """What the launching process and the command line need of a controller besides."""

    command: str
    """What somebody ordered from outside: ``running``, ``paused``, ``stopped`` or ``cancelled``; may be set."""

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no end, or none that is known."""

    def trials(self) -> list[TrialRecord]:
        """Every trial ever asked for, by number."""

    def completion(self) -> Completion | None:
        """Why no more trials are given out; None: there are more."""

    def has_live_agents(self) -> bool | None:
        """Whether others live that run trials of this sweep; None: it cannot be told yet, ask again."""

    def close_orphans(self) -> None:
        """Close the trials whose agents vanished and that nobody will go on with, since the sweep is over."""
