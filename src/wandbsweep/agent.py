"""The agent's loop: ask, run, complete, and ask again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

from wandbsweep.controllers.base import Controller
from wandbsweep.current import CurrentTrial, running
from wandbsweep.trial import Decision, Outcome, Trial


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of running one trial's job."""

    returned: float | None = None
    """The number that the task returned, where it returned one."""
    error: str = ""
    """Why the task failed, in one line; empty: it did not."""
    payload: Any = None
    """Whatever the caller of the agent wants to see of the job."""


RunJob = Callable[[Trial], JobResult]


def run_agent(
    controller: Controller,
    run_job: RunJob,
    *,
    name: str,
    sweep_id: str,
    metric: str | None = None,
    count: int | None = None,
) -> Iterator[JobResult]:
    """Run trials one after another, ``count`` of them or until the controller has no more, yielding each result.

    A trial whose task raises is failed, and the agent goes on. On Ctrl-C the running trial goes back to the queue
    and KeyboardInterrupt is raised, whatever the task made of the signal.
    """
    done = 0
    with _interrupts() as interrupts:
        while count is None or done < count:
            interrupts.hold()
            trial = controller.ask(name)
            if trial is None:
                break
            current = _current(controller, trial, sweep_id, metric)
            try:
                interrupts.let_go()
                with running(current):
                    result = _run(run_job, trial, interrupts)
                interrupts.hold()
                controller.complete(trial, _outcome(result, current.decision))
            except BaseException as error:
                interrupts.hold()
                controller.release(trial, f"the agent was interrupted ({type(error).__name__})")
                raise
            done += 1
            interrupts.let_go()
            yield result
        interrupts.let_go()


def _run(run_job: RunJob, trial: Trial, interrupts: _Interrupts) -> JobResult:
    try:
        result = run_job(trial)
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit; any other exit is the task's own, and must not end the agent.
        interrupts.check()
        return JobResult() if not error.code else JobResult(error=f"the task exited with status {error.code}")
    except Exception as error:  # the task's, whatever it is
        interrupts.check()
        return JobResult(error=" ".join(f"{type(error).__name__}: {error}".split()))
    interrupts.check()
    return result


def _current(controller: Controller, trial: Trial, sweep_id: str, metric: str | None) -> CurrentTrial:
    return CurrentTrial(
        number=trial.number,
        params=trial.params,
        resumed=trial.attempt > 1,
        sweep_id=sweep_id,
        metric=metric,
        send=partial(controller.report, trial),
    )


def _outcome(result: JobResult, decision: Decision) -> Outcome:
    if result.error:
        return Outcome.failed(result.error)
    if decision.stop:
        return Outcome.stopped(decision.reason)
    return Outcome.finished(result.returned)


class _Interrupts:
    """Ctrl-C, beside the KeyboardInterrupt that a task may swallow; held back while the store is written."""

    def __init__(self) -> None:
        self._seen = False
        self._held = False
        self.outer: Any = None

    def check(self) -> None:
        if self._seen:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """A first Ctrl-C waits from now on for ``let_go``; a second one does not."""
        self._held = True

    def let_go(self) -> None:
        self._held = False
        self.check()

    def note(self, signum: int, frame: FrameType | None) -> None:
        first, self._seen = not self._seen, True
        if callable(self.outer) and not (first and self._held):
            self.outer(signum, frame)


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    outer = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if outer in (None, signal.SIG_IGN):  # handled elsewhere, or not at all
        yield interrupts
        return
    interrupts.outer = outer
    signal.signal(signal.SIGINT, interrupts.note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, outer)
