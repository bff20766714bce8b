"""``current_trial()``: what training code sees of the sweep that runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wandbsweep.trial import CONTINUE, Decision, as_number, as_step

WANDB_OPTIONS = ("group", "name", "id", "resume", "tags")
"""The options of ``wandb.init`` that ``CurrentTrial.wandb`` may have."""

Send = Callable[[int, Mapping[str, float]], Decision]


# Module-level functions, not lambdas: a current trial is pickled for the processes that run it.
def _continue(*_: object) -> Decision:
    return CONTINUE


def _own() -> bool:
    return True


def _install_nothing() -> None:
    pass


@dataclass(eq=False)
class CurrentTrial:
    """The trial that this process is running; outside a sweep a null object that accepts reports and never stops."""

    number: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Flat: dotted name -> value, the swept parameters only."""
    resumed: bool = False
    """Whether an earlier attempt of the same trial was interrupted."""
    sweep_id: str | None = None
    metric: str | None = None
    """The name of the metric that the sweep optimises."""
    goal: str = "minimize"
    """Whether to ``minimize`` or ``maximize`` that metric."""
    send: Send = field(default=_continue, repr=False)
    """Passes a report to the controller and returns its decision."""
    poll: Callable[[], Decision] = field(default=_continue, repr=False)
    """Returns what was decided since the last report: a stop if the trial was cancelled or taken over."""
    is_owner: Callable[[], bool] = field(default=_own, repr=False)
    """Returns whether the trial is still this agent's."""
    reinstall_handlers: Callable[[], None] = field(default=_install_nothing, repr=False)
    """Puts the agent's signal handlers back after the training has installed its own."""
    decision: Decision = CONTINUE
    """The last answer; a stop is final."""
    last_step: int = field(default=-1, repr=False)
    """The highest step that this process has reported or trained to; -1: none."""
    listening: bool = field(default=False, repr=False)
    """Whether the training checks ``preempted`` regularly. Then even Ctrl-C waits for it."""
    interrupt_requested: bool = field(default=False, repr=False)
    """Whether the training knows that it must end. What it then returns is not the trial's result."""
    _interrupt_reason: str = field(default="", repr=False)
    """Set by a signal's handler, before the training knows of it."""

    def copy_for_process(self) -> CurrentTrial:
        """Return a copy without callbacks and decisions: what another process that runs this trial starts from."""
        return CurrentTrial(self.number, self.params, self.resumed, self.sweep_id, self.metric, self.goal)

    def __bool__(self) -> bool:
        return self.number is not None

    @property
    def wandb(self) -> dict[str, Any]:
        """Options of ``wandb.init`` that group the trial's run by its sweep and let a later attempt continue it.

        Empty outside a sweep. W&B has chosen the id of a run in a sweep of its own.
        """
        if not self:
            return {}
        name = f"{self.sweep_id}-{self.number}" if self.sweep_id else f"trial-{self.number}"
        options = {"group": self.sweep_id, "name": name, "tags": [tag for tag in ("wandbsweep", self.sweep_id) if tag]}
        if self.sweep_id and not os.environ.get("WANDB_SWEEP_ID"):
            options |= {"id": name, "resume": "allow" if self.resumed else None}
        return options

    def report(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """Report ``metrics`` to the sweep, and return whether the training is to stop.

        If ``decision.stop`` is true, end the training cleanly.

        Args:
            step: What the training counts, such as epochs or batches. Reporting a step again replaces its metrics.
            metrics: The value of each metric by name. Scalars of any array library are accepted.

        Raises:
            ValueError: ``step`` is not a whole number, or a value is not a number.
        """
        sent = as_step(step), {name: _as_float(name, value) for name, value in metrics.items()}
        self.note_step(sent[0])
        if not self.decision.stop:
            self.decision = self.send(*sent)
            if self._interrupt_reason and not self.decision.stop:
                self.decision = self.acknowledge()
        return self.decision

    def note_step(self, step: int) -> None:
        """Note that the training has reached ``step``: what is measured after it needs a later one."""
        self.last_step = max(self.last_step, step)

    @property
    def preempted(self) -> bool:
        """Whether this process is to end. If so, save what is needed to resume, and return; the trial will be resumed.

        ``report`` then answers with a stop as well.
        """
        if self._interrupt_reason and not self.decision.stop:
            self.decision = self.acknowledge()
        return self.interrupt_requested

    def interrupt(self, reason: str) -> None:
        """Ask the training to end. Safe in a signal handler: it only notes the reason."""
        self._interrupt_reason = reason

    def stop(self, reason: str) -> None:
        """Have the next report answer with a stop; may be called from a thread that runs next to the training."""
        if not self.decision.stop:
            self.decision = Decision(stop=True, reason=reason)

    def acknowledge(self) -> Decision:
        """Note that the training now knows that it must end, and return the decision that says so."""
        self.interrupt_requested = True
        return Decision(stop=True, reason=self._interrupt_reason or "interrupted")

    def clear(self) -> None:
        """Forget the interruption: the training had already reached its own end."""
        if self.interrupt_requested:
            self.interrupt_requested, self.decision = False, CONTINUE


class Preempted(BaseException):
    """Raised out of a training that has saved what it needs to be resumed.

    It is not a failure, and not an ``Exception``, so that ``except Exception`` in the training lets it pass.
    """


def _as_float(name: str, value: object) -> float:
    number = as_number(int(value) if isinstance(value, bool) else value)
    if number is None:
        raise ValueError(f"The value of the metric {name!r} is {value!r}, but must be a number")
    return number


_current = CurrentTrial()


def current_trial() -> CurrentTrial:
    """Return the trial that this process is running; it is false in a boolean context outside a sweep."""
    return _current


@contextmanager
def running(trial: CurrentTrial) -> Iterator[CurrentTrial]:
    """Make ``trial`` the current one for the duration of a ``with`` block.

    A plain global, not a context variable: training code reports from threads that inherit no context.
    """
    global _current
    outer, _current = _current, trial
    try:
        yield trial
    finally:
        _current = outer
