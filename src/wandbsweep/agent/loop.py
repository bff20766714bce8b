"""The agent's loop: ask, run, complete, and ask again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from wandbsweep.agent.signals import GRACE_S, Deadline, Signalled, SignalWatch, leave
from wandbsweep.controllers.base import Controller
from wandbsweep.current import CurrentTrial, Preempted, running
from wandbsweep.trial import CONTINUE, Decision, JobResult, Outcome, RunJob, Trial

_LOOK_S = 0.2

log = logging.getLogger(__name__)


def run_agent(
    controller: Controller,
    run_job: RunJob,
    *,
    name: str,
    sweep_id: str,
    metric: str | None = None,
    goal: str = "minimize",
    count: int | None = None,
    watch: SignalWatch | None = None,
    separate: bool = False,
    grace_s: float = GRACE_S,
    worth_starting: Callable[[Sequence[float]], bool] = lambda durations: True,
    look_s: float = _LOOK_S,
) -> Iterator[JobResult]:
    """Run trials one after another, ``count`` of them or until the controller has no more, yielding each result.

    A trial whose task raises is failed, one whose process died is crashed, and the agent goes on. On Ctrl-C, TERM and
    submitit's signal the running trial goes back to the queue, once it has saved what it can or ``grace_s`` is over;
    then the process ends as it would have without us (Ctrl-C: KeyboardInterrupt), whatever the task made of it.

    ``separate``: ``run_job`` runs its trials in processes of their own, watches ``watch``, and keeps to the grace
    itself. ``worth_starting`` is asked before each trial, with the seconds that each one here took. ``look_s``: how
    often the controller is asked whether it is ready, while it is not.
    """
    watch = watch or SignalWatch()
    durations: list[float] = []
    with watch.watching():
        try:
            while (count is None or len(durations) < count) and worth_starting(durations):
                _await_turn(controller, name, watch, look_s)
                watch.hold()
                trial = controller.ask(name)
                if trial is None:
                    break
                began = time.monotonic()
                current = _current(controller, trial, sweep_id, metric, goal)
                # What a separate trial raises here is not its task's, but the controller's.
                run = run_job if separate else partial(outcome_of, run_job)
                overdue = nullcontext() if separate else Deadline(watch, grace_s, _given_up(controller, trial, watch))
                result = _attempt(controller, run, trial, current, watch, overdue)
                durations.append(time.monotonic() - began)
                watch.let_go()
                yield result
            watch.let_go()
        except Signalled as signalled:
            leave(watch, signalled.signum)


def _await_turn(controller: Controller, name: str, watch: SignalWatch, look_s: float) -> None:
    """Wait until ``ask`` will answer at once: only here is an agent that waits free to be interrupted."""
    until = time.monotonic() + controller.wait_s(name)
    while True:
        watch.check()
        if time.monotonic() >= until and controller.ready(name):
            return
        time.sleep(look_s)


def _attempt(
    controller: Controller,
    run_job: RunJob,
    trial: Trial,
    current: CurrentTrial,
    watch: SignalWatch,
    overdue: AbstractContextManager[None],
) -> JobResult:
    """Run ``trial``, and close it or give it back, whatever happens."""
    try:
        watch.let_go()
        with overdue, running(current), watch.telling(current):
            result = run_job(trial)
            watch.hold()
        if current.interrupt_requested or result.preempted or result.error or result.crashed:
            watch.check()  # what it ended by was the signal; else it was done anyway, and counts
        _close(controller, trial, result, current.decision)
    except BaseException as error:
        watch.hold()
        name = error.signum.name if isinstance(error, Signalled) else type(error).__name__
        controller.release(trial, f"the agent was interrupted ({name})")
        raise
    return result


def outcome_of(run_job: RunJob, trial: Trial) -> JobResult:
    """Run ``trial``; what its task raises is a failure of it, but for KeyboardInterrupt."""
    try:
        return run_job(trial)
    except Preempted:
        return JobResult(preempted=True)
    except SystemExit as error:  # Lightning turns Ctrl-C into an exit, too
        return JobResult() if not error.code else JobResult(error=f"the task exited with status {error.code}")
    except Exception as error:  # the task's, whatever it is
        return JobResult(error=" ".join(f"{type(error).__name__}: {error}".split()))


def _close(controller: Controller, trial: Trial, result: JobResult, decision: Decision) -> None:
    if result.lost:
        return
    if (decision.stop or result.stopped) and not result.error:
        controller.complete(trial, Outcome.stopped(decision.reason or result.stopped))
    elif result.crashed:
        controller.crash(trial, result.crashed)
    elif result.preempted:
        controller.release(trial, "its process was asked to end")
    elif result.error:
        if not controller.reassign_suspect(trial, result.error):
            controller.complete(trial, Outcome.failed(result.error))
    else:
        controller.complete(trial, Outcome.finished(result.returned))


def _current(controller: Controller, trial: Trial, sweep_id: str, metric: str | None, goal: str) -> CurrentTrial:
    current = CurrentTrial.from_trial(trial, sweep_id=sweep_id, metric=metric, goal=goal)
    current.send = partial(controller.report, trial)
    current.poll = partial(_poll, controller, trial)
    current.is_owner = partial(controller.owns, trial)
    return current


def _poll(controller: Controller, trial: Trial) -> Decision:
    try:
        return controller.check(trial)
    except Exception as error:  # whatever a storage raises that is away for a while: nobody waits for this answer
        log.warning("Cannot see what was decided about trial %d: %s", trial.number, error)
        return CONTINUE


def _given_up(controller: Controller, trial: Trial, watch: SignalWatch) -> Callable[[Any], None]:
    def give_up(signum: Any) -> None:
        try:
            controller.release(trial, f"the agent was interrupted ({signum.name}), which the task did not heed")
            leave(watch, signum)
        finally:  # submitit's handler means to end the main thread
            os._exit(128 + signum)

    return give_up
