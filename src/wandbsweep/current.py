"""``current_trial()``: what training code sees of the sweep that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wandbsweep.trial import CONTINUE, Decision, as_number, as_step


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
    send: Callable[[int, Mapping[str, float]], Decision] = field(default=lambda step, metrics: CONTINUE, repr=False)
    look: Callable[[], Decision] = field(default=lambda: CONTINUE, repr=False)
    """What was decided since the last report: a stop where the trial was cancelled, or is another's by now."""
    owned: Callable[[], bool] = field(default=lambda: True, repr=False)
    """Whether the trial is still ours."""
    decision: Decision = CONTINUE
    """The last answer; a stop is final."""
    listening: bool = field(default=False, repr=False)
    """Whether the training looks at ``preempted`` before long: then even Ctrl-C waits for it."""
    told: bool = field(default=False, repr=False)
    """Whether the training knows that it is to end; what it returns then is not the end of the trial."""
    _interrupted: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return self.number is not None

    def report(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """Tell the sweep the ``metrics`` measured at ``step``; on ``decision.stop`` end training cleanly.

        ``step`` counts whatever the training counts (epochs, batches), rising; reporting one again replaces it.
        Values may be scalars of any array library; what is no number raises ValueError.
        """
        sent = as_step(step), {name: _float(name, value) for name, value in metrics.items()}
        if not self.decision.stop:
            self.decision = self.send(*sent)
            if self._interrupted and not self.decision.stop:
                self.decision = self.heed()
        return self.decision

    @property
    def preempted(self) -> bool:
        """Whether this process is to end: save what is needed to go on, and return; the trial will be resumed.

        Who reads it and finds it true is taken to do so. ``report`` then answers with a stop as well.
        """
        if self._interrupted and not self.decision.stop:
            self.decision = self.heed()
        return self.told

    def interrupt(self, reason: str) -> None:
        """Ask the training to end, from a signal's handler."""
        self._interrupted = reason

    def stop(self, reason: str) -> None:
        """Have the next report answer with a stop, from a thread beside the training."""
        if not self.decision.stop:
            self.decision = Decision(stop=True, reason=reason)

    def heed(self) -> Decision:
        """The training is being told that it is to end."""
        self.told = True
        return Decision(stop=True, reason=self._interrupted or "interrupted")

    def unheed(self) -> None:
        """The training was told, but came to its own end."""
        if self.told:
            self.told, self.decision = False, CONTINUE


class Preempted(BaseException):
    """Raised out of a training that has saved what it needs to go on. No failure: ``except Exception`` lets it pass."""


def _float(name: str, value: object) -> float:
    number = as_number(int(value) if isinstance(value, bool) else value)
    if number is None:
        raise ValueError(f"The value of the metric {name!r} is {value!r}, but must be a number")
    return number


_current = CurrentTrial()


def current_trial() -> CurrentTrial:
    """The trial that this process is running; false in a boolean context outside a sweep."""
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
