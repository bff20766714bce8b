"""The frozen values that search, controller, agent and training code exchange."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, SupportsFloat, get_args

State = Literal["queued", "running", "finished", "stopped", "frozen", "failed", "crashed"]
"""``frozen``: it was stopped, and ``early_terminate: {type: thaw}`` may take it up again."""
STATES: tuple[State, ...] = get_args(State)
ValueRule = Literal["best", "last"]
"""Which of the values that a trial reports of the metric is its own."""
Cause = Literal["", "out of memory", "diverged"]
"""Why a trial failed, if its parameters are to blame and not the script or the node; empty: that is not known."""
ENDED: frozenset[State] = frozenset({"finished", "stopped", "frozen", "failed", "crashed"})
"""A frozen trial has ended too, unless it is taken up again."""
SUCCEEDED: tuple[State, ...] = ("finished", "stopped", "frozen")
"""The states whose values count."""

FAILED: tuple[State, ...] = ("failed", "crashed")
"""The states of trials that came to no end: the task raised, or its process died."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration to run, as handed out by a controller."""

    number: int
    """Counts from 0, unique for the life of the sweep."""
    params: Mapping[str, Any]
    """Flat: dotted name -> plain Python value."""
    attempt: int = 1
    """Counts from 1; more than 1 if an earlier execution was preempted, lost or frozen."""
    key: int = field(default=-1, compare=False)
    """The controller's own handle of this attempt; only the controller reads it."""
    environment: Mapping[str, str] | None = field(default=None, compare=False)
    """What its process needs in its environment (``wandb_runs.environment``)."""

    @property
    def resumed(self) -> bool:
        """Whether it continues: its next report is of the step after its last one."""
        return self.attempt > 1


@dataclass(frozen=True, slots=True)
class Decision:
    """A controller's answer to a report: continue, or stop for a reason."""

    stop: bool = False
    reason: str = ""
    freezes: bool = False
    """Whether the trial may be taken up again, so that it should save what it needs to be resumed."""

    def __post_init__(self) -> None:
        assert self.stop == bool(self.reason), "a stop must say why, and only a stop"


CONTINUE = Decision()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    state: Literal["finished", "stopped", "failed"]
    reason: str = ""
    returned: float | None = None
    """The number that the task function returned; None: it returned no number."""
    cause: Cause = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What was measured from outside the training; it replaces what the trial reported under the same names."""

    @classmethod
    def finished(cls, returned: float | None = None) -> Self:
        return cls("finished", returned=returned)

    @classmethod
    def stopped(cls, reason: str) -> Self:
        return cls("stopped", reason)

    @classmethod
    def failed(cls, reason: str, *, cause: Cause = "", metrics: Mapping[str, float] | None = None) -> Self:
        return cls("failed", reason, cause=cause, metrics=metrics or {})


@dataclass(frozen=True, slots=True)
class JobResult:
    """Result of running one trial's job, for the agent's loop."""

    returned: float | None = None
    """The number that the task function returned; None: it returned no number."""
    error: str = ""
    """Why the task failed, in one line; empty: it did not fail."""
    cause: Cause = ""
    """What in its parameters made the task fail."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The peaks of memory of a task that ran out of it, as metrics."""
    payload: Any = None
    """What the agent passes on to its caller unread: Hydra's JobReturn."""
    crashed: str = ""
    """How the trial's process died; empty: it did not. The task did not decide this, so the trial is run again."""
    killed: bool = False
    """Whether something outside ended the trial's process."""
    preempted: bool = False
    """Whether the task ended early and saved what it needs to be resumed."""
    lost: bool = False
    """Whether another agent has taken the trial over."""
    worked_s: float | None = None
    """How many seconds the task ran, without its imports; None: as long as the call that returned this."""
    stopped: str = ""
    """Why the task was stopped without the controller's decision: by W&B's client, in the trial's own process."""


RunJob = Callable[[Trial], JobResult]
"""Runs a trial's job."""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """All that a sweep knows about one trial; search, stopping and results read it."""

    number: int
    state: State
    params: Mapping[str, Any]
    """Empty until the controller has chosen them."""
    reports: Mapping[int, float] = field(default_factory=dict)
    """step -> value of the sweep's metric, as reported; NaN and infinities included."""
    value: float | None = None
    """The value of the metric by the sweep's rule, the best finite one unless ``metric.value`` says the last, stored
    when the trial ends, and until then that of its reports; None: none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric reported; filled in when the trial ends."""
    reason: str = ""
    """Why it was stopped, or why it failed."""
    cause: Cause = ""
    """Why it failed, if its parameters are to blame."""
    attempts: int = 1
    """How often it was started, without ``thaws`` and users' retries."""
    thaws: int = 0
    """How often it was taken up again after it was frozen."""
    repeated: bool = False
    """Whether it then repeated steps: its training does not resume where it ended."""
    agent: str = ""
    started: float | None = None
    """Unix time of the first attempt's start, in seconds."""
    ended: float | None = None
    """Unix time of the last attempt's end, in seconds."""
    resumed: float | None = None
    """Unix time of the newest attempt's start, in seconds."""
    worked_s: float | None = None
    """Seconds that the task ran in the attempts that have ended, without its imports and without the time between the
    attempts; None: only start and end are known."""

    @property
    def starts(self) -> int:
        """How often an agent began or continued it."""
        return self.attempts + self.thaws

    @property
    def history(self) -> list[float]:
        """The reported values, in the order of their steps."""
        return [self.reports[step] for step in sorted(self.reports)]

    @property
    def last(self) -> float | None:
        """The metric's value at the newest step, NaN and infinities included, or else ``value``: it was returned."""
        return self.reports[max(self.reports)] if self.reports else self.value

    @property
    def duration_s(self) -> float | None:
        """How many seconds the trial ran in all; None: it has not ended."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started if self.worked_s is None else self.worked_s


def is_number(value: object) -> bool:
    """Return whether a metric's value counts: it is a finite number and no boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # an integer may be too large for math.isfinite


def as_number(value: object) -> float | None:
    """Return a metric's value as a float, scalars of array libraries included; None: it is no number."""
    if isinstance(value, bool | str | bytes | bytearray) or not isinstance(value, SupportsFloat):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]
    except Exception:  # an array of several elements, or an application's own __float__
        return None


def replace_nonfinite(data: Any) -> Any:
    """Return ``data`` with None for the numbers that JSON does not have: NaN and infinities."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: replace_nonfinite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [replace_nonfinite(item) for item in data]
    return data


def as_step(step: object) -> int:
    """Return a step as an int.

    Raises:
        ValueError: It is no whole number.
    """
    try:
        return operator.index(step)  # type: ignore[arg-type]
    except TypeError:
        number = as_number(step)
    if number is None or not number.is_integer():
        raise ValueError(f"The value of `step` is {step!r}, but must be a whole number")
    return int(number)
