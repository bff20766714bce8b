"""The ``Controller`` protocol: a controller decides what runs, and an agent runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from wandbsweep.trial import Decision, Outcome, Trial, TrialRecord

if TYPE_CHECKING:  # an agent's process does without the rest of the controllers until it opens one
    from wandbsweep.controllers.completion import Completion

ATTEMPT_CLOSED = "this attempt is closed; another agent may have the trial"
"""The reason of the stop if another agent has taken the trial over, or if it was completed."""


class Controller(Protocol):
    """Decides which trial runs next and which one stops. Safe to use from several threads."""

    def ask(self, agent: str) -> Trial | None:
        """Return the next trial for ``agent`` to run; None: the sweep has no more for it."""

    def ready(self, agent: str) -> bool:
        """Whether ``ask`` answers at once. It would wait if the sweep is paused, or if others' trials may be lost."""

    def wait_s(self, agent: str) -> float:
        """Return how many seconds ``agent`` should wait before it asks: more than 0 if its trials fail."""

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        """Store what ``trial`` measured, and decide whether it continues.

        Args:
            trial: The trial.
            step: A whole number. A second report for a step replaces the first.
            metrics: The values by name. Those that are not numbers are ignored.

        Raises:
            ValueError: ``step`` is not a whole number.
        """

    def check(self, trial: Trial) -> Decision:
        """Return what was decided about ``trial`` since its last report: a stop if it was cancelled or lost."""

    def owns(self, trial: Trial) -> bool:
        """Whether ``trial`` still belongs to the agent that asked for it. If not, nothing that it does counts."""

    def note_work(self, trial: Trial, seconds: float) -> None:
        """Note how long the task of ``trial`` ran in this attempt, which is about to be closed.

        Without this, all the time since the attempt began counts.
        """

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        """Close ``trial``. A trial that another agent has closed in the meantime stays as it is."""

    def release(self, trial: Trial, reason: str) -> None:
        """Give ``trial`` back unfinished. The next agent to ask gets it, with its number and its reports."""

    def crash(self, trial: Trial, reason: str, *, killed: bool = False) -> None:
        """Give back a trial whose process died. After ``max_attempts`` such deaths it stays ``crashed``."""

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        """Give a failed trial to another agent if this agent's node may be to blame; return whether it was."""

    def close(self) -> None:
        """Release the storage."""


class SweepController(Controller, Protocol):
    """The controller of the launching process and the command line, which need more than agents do."""

    command: str
    """The last command given to the sweep: ``running``, ``paused``, ``stopped`` or ``cancelled``. May be set."""

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no limit, or none that is known."""

    def trials(self) -> list[TrialRecord]:
        """Return every trial ever asked for, by number."""

    def completion(self) -> Completion | None:
        """Return why no more trials are given out; None: there are more."""

    def describe_bad_nodes(self) -> list[str]:
        """Return a sentence for each agent that gets no more trials, because trials fail there alone."""

    def forgive_failures(self) -> None:
        """Keep the failures so far from ending the sweep again: the user who resumes it has removed the cause."""

    def has_live_agents(self) -> bool | None:
        """Whether other processes run trials of this sweep; None: not known yet, ask again."""

    def close_orphans(self) -> None:
        """Close the trials whose agents vanished, when the sweep is over and no agent takes them over."""
