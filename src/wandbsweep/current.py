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
    send: Callable[[int, Mapping[str, float]], Decision] = field(default=lambda step, metrics: CONTINUE, repr=False)
    decision: Decision = CONTINUE
    """The last answer; a stop is final."""

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
        return self.decision


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
