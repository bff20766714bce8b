"""What an agent, its fork server and the process of a trial say to each other.

::

    agent                       fork server                    trial
      | -- the pickled task ------> | loads it, once
      |
      | -- Request, descriptor ---> | -- fork ------------------> |     for each trial
      | <------------- Started ---- |                             | resets signals, environment, directory
      | <------------------------------------------------- Ready -|
      | <------------------------------------------------ Report -|     any number of times
      | -- (decision, interrupt) -------------------------------> |
      | <------------------------------------------------ Result -|
      | <--------------- Ended ---- | the process is a zombie, so that its number is not reused
      | -- Reaped ----------------> | reaps it

The fork server serves one trial at a time. Agent and trial talk through a socket pair of the trial's own, so that a
trial that is killed while it writes spoils nothing for the next one. Instead of Started and Ended the fork server may
answer Broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wandbsweep.current import CurrentTrial
from wandbsweep.trial import JobResult, Trial


@dataclass(frozen=True)
class Request:
    """Agent → fork server, with a descriptor: run this trial, and let it talk to the agent through that."""

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
    """What it exited with; negative: the signal that killed it."""


@dataclass(frozen=True)
class Broken:
    """Fork server → agent: the task itself cannot be loaded, or not be forked."""

    reason: str


@dataclass(frozen=True)
class Reaped:
    """Agent → fork server: the process will not be signalled any more, and its number may be reused."""

    modules: Sequence[str] = ()
    """What it had to import, so that the fork server can import it before the next trial."""


@dataclass(frozen=True)
class Ready:
    """Trial → agent: from now on it obeys signals."""


@dataclass(frozen=True)
class Report:
    """Trial → agent, which answers with a Decision, and whether only a signal asks for it."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """Trial → agent: its task is done, and the process is about to exit."""

    job: JobResult
    modules: Sequence[str] = ()
    """What it had to import."""
