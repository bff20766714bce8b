"""The protocol between what decides (a controller) and what runs (an agent)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from wandbsweep.trial import Decision, Outcome, Trial, TrialRecord

if TYPE_CHECKING:  # an agent's process does without the rest of the controllers until it opens one
    from wandbsweep.controllers.completion import Completion

ATTEMPT_CLOSED = "this attempt is closed; another agent may have the trial"
"""Why a trial stops that another agent has taken over, or that was completed."""


class Controller(Protocol):
    """Decides which trial runs next and which one stops. Safe to use from several threads."""

    def ask(self, agent: str) -> Trial | None:
        """Return the next trial for ``agent`` to run; None: the sweep gives it no more."""

    def ready(self, agent: str) -> bool:
        """Whether ``ask`` answers at once. It waits if the sweep is paused, or if other agents' trials may be lost."""

    def wait_s(self, agent: str) -> float:
        """Return how many seconds ``agent`` should wait before it asks: more than 0 if it fails the trials it gets."""

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        """Store what ``trial`` measured, and decide whether it continues.

        Args:
            trial: The trial.
            step: A whole number. A report for a step replaces the one before.
            metrics: By name. Values that are no numbers are ignored.

        Raises:
            ValueError: ``step`` is no whole number.
        """

    def check(self, trial: Trial) -> Decision:
        """Return what was decided about ``trial`` since its last report: to stop if it was cancelled or lost."""

    def owns(self, trial: Trial) -> bool:
        """Whether ``trial`` still belongs to the agent that asked for it. If not, nothing that it does counts."""

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        """Close ``trial``. A trial that another agent has closed in the meantime stays as it is."""

    def release(self, trial: Trial, reason: str) -> None:
        """Give ``trial`` back unfinished. The next agent to ask gets it, with its number and its reports."""

    def crash(self, trial: Trial, reason: str) -> None:
        """Give back a trial whose process died. After too many attempts it stays ``crashed``."""

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        """Give a failed trial to another agent if this agent's node may be to blame; return whether it was."""

    def close(self) -> None:
        """Release the storage."""


class SweepController(Controller, Protocol):
    """What the launching process and the command line need in addition."""

    command: str
    """The last command given to the sweep: ``running``, ``paused``, ``stopped`` or ``cancelled``. May be set."""

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no limit, or none that is known."""

    def trials(self) -> list[TrialRecord]:
        """Return every trial ever asked for, by number."""

    def completion(self) -> Completion | None:
        """Return why no more trials are given out; None: there are more."""

    def has_live_agents(self) -> bool | None:
        """Whether other agents live that run trials of this sweep; None: not known yet, ask again."""

    def close_orphans(self) -> None:
        """Close the trials whose agents vanished, when the sweep is over and no agent takes them over."""
