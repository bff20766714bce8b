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
    with _interrupts() as interrupted:
        while (count is None or done < count) and (trial := controller.ask(name)) is not None:
            current = _current(controller, trial, sweep_id, metric)
            try:
                with running(current):
                    result = _run(run_job, trial, interrupted)
            except BaseException as error:
                controller.release(trial, f"the agent was interrupted ({type(error).__name__})")
                raise
            controller.complete(trial, _outcome(result, current.decision))
            done += 1
            yield result


def _run(run_job: RunJob, trial: Trial, interrupted: threading.Event) -> JobResult:
    try:
        result = run_job(trial)
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit; any other exit is the task's own, and must not end the agent.
        if interrupted.is_set():
            raise KeyboardInterrupt from error
        return JobResult() if not error.code else JobResult(error=f"the task exited with status {error.code}")
    if interrupted.is_set():
        raise KeyboardInterrupt
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


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, beside the KeyboardInterrupt that a task may swallow."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # signals are handled elsewhere
        return
    outer = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: FrameType | None) -> None:
        interrupted.set()
        if callable(outer):
            outer(signum, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, outer)
