"""The messages between an agent, its fork server and the process of a trial.

::

    agent                       fork server                    trial
      | -- the pickled task ------> | loads it, once
      |
      | -- Request, descriptor ---> | -- fork ------------------> |     for each trial
      | <------------- Started ---- |                             | resets signals, environment, directory
      | <------------------------------------------------- Ready -|
      | <------------------------------------------------ Result -|
      | <--------------- Ended ---- | the process is a zombie, so that its number is not reused
      | -- Reaped ----------------> | reaps it
      | <--------------- Freed ---- |

The fork server serves one trial at a time. Each trial has its own socket pair with the agent, so that a trial that is
killed while it writes does not disturb the next one. Reports take another way, since not only this process may report:
``wandbsweep.trial_link``. Instead of Started and Ended the fork server may
answer Broken or Unforkable; there is nothing to free then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wandbsweep.current import CurrentTrial
from wandbsweep.trial import JobResult, Trial


@dataclass(frozen=True)
class Request:
    """Agent → fork server, with a descriptor: run this trial, which talks to the agent through the descriptor."""

    trial: Trial
    current: CurrentTrial
    environment: Mapping[str, str]
    cwd: str
    argv: Sequence[str]


@dataclass(frozen=True)
class Started:
    """Fork server → agent: the trial's process exists."""

    pid: int


@dataclass(frozen=True)
class Ended:
    """Fork server → agent: the trial's process has ended."""

    status: int
    """Its exit status; negative: the signal that killed it."""


@dataclass(frozen=True)
class Broken:
    """Fork server → agent: the task cannot be loaded."""

    reason: str


@dataclass(frozen=True)
class Unforkable:
    """Fork server → agent: now that the task is imported, this process cannot be forked."""

    reason: str
    import_s: float
    """How long the imports took: what each trial takes longer if it does them itself."""


@dataclass(frozen=True)
class Reaped:
    """Agent → fork server: the process will not be signalled any more, and its number may be reused."""


@dataclass(frozen=True)
class Freed:
    """Fork server → agent: the process is gone."""

    peak_mib: float
    """The most memory that it or one of its own processes used, as the kernel counts it."""


@dataclass(frozen=True)
class Ready:
    """Trial → agent: from now on it obeys signals."""


@dataclass(frozen=True)
class Result:
    """Trial → agent: its task is done, and the process is about to exit."""

    job: JobResult
    import_s: Mapping[str, float] = field(default_factory=dict)
    """How many seconds it spent importing each module, with what that imports in turn."""
