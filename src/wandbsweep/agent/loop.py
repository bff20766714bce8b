"""The agent's loop: ask, run, complete, and ask again."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial

from wandbsweep.agent.import_times import time_imports
from wandbsweep.agent.signals import GRACE_S, Signalled, SignalWatch, end_by_signal, enforce_grace
from wandbsweep.agent.trial_server import serve_from_thread
from wandbsweep.controllers.base import Controller
from wandbsweep.current import CurrentTrial, Preempted, running
from wandbsweep.errors import BrokenDeviceError
from wandbsweep.faults import TaskWatch, find_broken_device, release_task
from wandbsweep.text import escape_surrogates
from wandbsweep.trial import CONTINUE, Decision, JobResult, Outcome, RunJob, Trial

POLL_S = 0.2

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
    poll_s: float = POLL_S,
) -> Iterator[JobResult]:
    """Run trials one after another until the controller has no more, yielding the result of each.

    A trial whose task raises has failed, and one whose process died has crashed; the agent continues with the next. On
    Ctrl-C, TERM and submitit's signal the running trial is given back to the queue, after it has saved its state or the
    grace is over. Then the process ends as it would have ended without this loop.

    Args:
        controller: Decides which trial comes next, and gets its outcome.
        run_job: Runs a trial.
        name: The agent's name, for the controller.
        sweep_id: The sweep's id, for the training.
        metric: The name of the metric that the sweep optimises, for the training.
        goal: Whether the sweep minimizes or maximizes it.
        count: How many trials to run at most.
        watch: The signals to obey; ``run_job`` may watch the same.
        separate: Whether ``run_job`` runs trials in processes of their own, watches ``watch`` and enforces the grace.
        grace_s: How long a trial may take to save and end after a signal.
        worth_starting: Returns whether another trial is worth starting, given the seconds that each earlier one took.
        poll_s: How often to ask the controller whether it is ready, while it is not.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        BrokenDeviceError: A trial that ran in this process has left the GPU unusable.
    """
    watch = watch or SignalWatch()
    durations: list[float] = []
    with watch.watching():
        try:
            while (count is None or len(durations) < count) and worth_starting(durations):
                if not separate:
                    _check_device(name)
                _await_turn(controller, name, watch, poll_s)
                # From here until the trial runs, and again until it is closed, a Ctrl-C waits: an interrupted write
                # to the storage could leave a trial that was claimed and that no agent runs.
                watch.hold()
                trial = controller.ask(name)
                if trial is None:
                    break
                began = time.monotonic()
                current = CurrentTrial(trial.number, trial.params, trial.attempt > 1, sweep_id, metric, goal)
                current.send = partial(controller.report, trial)
                current.poll = partial(_poll_decision, controller, trial)
                current.is_owner = partial(controller.owns, trial)
                # If trials run in processes of their own, what run_job raises comes from the controller, not the task.
                run = run_job if separate else partial(run_catching, run_job)
                abandon = partial(_abandon, controller, trial, watch)
                around = nullcontext() if separate else _serve_and_enforce_grace(current, watch, grace_s, abandon)
                result = _run_and_close(controller, run, trial, current, watch, around)
                durations.append(time.monotonic() - began)
                watch.release_hold()
                yield result
            watch.release_hold()
        except Signalled as signalled:
            end_by_signal(watch, signalled.signum)


def _check_device(name: str) -> None:
    if broken := find_broken_device():
        raise BrokenDeviceError(
            f"Agent {name} ends, because its process cannot use the GPU any more ({broken}). Under "
            "hydra.sweeper.isolation=process this only ends the process of the trial that caused it."
        )


def run_catching(run_job: RunJob, trial: Trial) -> JobResult:
    """Run ``trial``; return any exception of its task, except KeyboardInterrupt, as a failure.

    A process that the task has forked and that leaves it ends here: it must not become a second agent.
    """
    pid, status = os.getpid(), 1
    try:
        result = _run_catching(run_job, trial)
        status = int(bool(result.error))
    except SystemExit as error:  # Lightning turns Ctrl-C into an exit, too
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        reason = escape_surrogates(f"the task exited with status {error.code}") if error.code else ""
        result = JobResult(error=reason)
    finally:
        if os.getpid() != pid:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # closed, or a pipe without a reader
                    stream.flush()
            os._exit(status & 0xFF)
    return result


def _run_catching(run_job: RunJob, trial: Trial) -> JobResult:
    task = TaskWatch()
    try:
        return run_job(trial)
    except Preempted:
        return JobResult(preempted=True)
    except Exception as error:  # the task's, whatever it is
        fault = task.explain(error)
        release_task(error)
        return JobResult(error=fault.reason, cause=fault.cause, metrics=fault.metrics)


def _await_turn(controller: Controller, name: str, watch: SignalWatch, poll_s: float) -> None:
    """Wait until ``ask`` answers at once. A signal interrupts this wait, but not ``ask`` itself."""
    until = time.monotonic() + controller.wait_s(name)
    while True:
        watch.check()
        if time.monotonic() >= until and controller.ready(name):
            return
        time.sleep(poll_s)


@contextmanager
def _serve_and_enforce_grace(
    current: CurrentTrial, watch: SignalWatch, grace_s: float, abandon: Callable[[signal.Signals], None]
) -> Iterator[None]:
    """Serve the processes of a trial that runs in this process, and enforce its grace period, from threads."""
    with enforce_grace(watch, grace_s, abandon), serve_from_thread(current):
        yield


def _run_and_close(
    controller: Controller,
    run_job: RunJob,
    trial: Trial,
    current: CurrentTrial,
    watch: SignalWatch,
    around: AbstractContextManager[None],
) -> JobResult:
    """Run ``trial``, and in any case close it or give it back. What it spends on imports is not its work."""
    began = time.monotonic()
    worked_s: float | None = None
    import_s: Mapping[str, float] = {}
    try:
        with time_imports() as import_s:
            watch.release_hold()
            with around, running(current), watch.notifying(current):
                result = run_job(trial)
                watch.hold()
        worked_s = _time_work(began, import_s) if result.worked_s is None else result.worked_s
        controller.note_work(trial, worked_s)
        # If the signal ended the trial, raise it now, so that the trial is given back. If the task was done anyway,
        # its result counts, and the signal is raised after the trial is closed.
        if current.interrupt_requested or result.preempted or result.error or result.crashed:
            watch.check()
        if not _close(controller, trial, result, current.decision):
            result = replace(result, payload=None)
    except BaseException as error:
        watch.hold()
        controller.note_work(trial, _time_work(began, import_s) if worked_s is None else worked_s)
        name = error.signum.name if isinstance(error, Signalled) else type(error).__name__
        controller.release(trial, f"the agent was interrupted ({name})")
        raise
    return result


def _time_work(began: float, import_s: Mapping[str, float]) -> float:
    return max(0.0, time.monotonic() - began - sum(import_s.values()))


def _close(controller: Controller, trial: Trial, result: JobResult, decision: Decision) -> bool:
    """Close ``trial`` as it ended, and return whether its result counts: not if another agent is to try it."""
    if result.lost:  # another agent has it, so nothing is recorded here
        return False
    if (decision.stop or result.stopped) and not result.error:
        controller.complete(trial, Outcome.stopped(decision.reason or result.stopped))
    elif result.crashed:
        controller.crash(trial, result.crashed, killed=result.killed)
    elif result.preempted:
        controller.release(trial, "its process was asked to end")
    elif result.error:
        # Its parameters would fail on any other agent, too.
        if not result.cause and controller.reassign_suspect(trial, result.error):
            return False
        controller.complete(trial, Outcome.failed(result.error, cause=result.cause, metrics=result.metrics))
    else:
        controller.complete(trial, Outcome.finished(result.returned))
    return True


def _poll_decision(controller: Controller, trial: Trial) -> Decision:
    try:
        return controller.check(trial)
    except Exception as error:  # any error of a storage that cannot be reached; the next poll may succeed
        log.warning("Cannot see what was decided about trial %d: %s", trial.number, error)
        return CONTINUE


def _abandon(controller: Controller, trial: Trial, watch: SignalWatch, signum: signal.Signals) -> None:
    """Give ``trial`` back, and end the process while the task still runs in its main thread."""
    try:
        controller.release(trial, f"the agent was interrupted ({signum.name}), which the task ignored")
        end_by_signal(watch, signum)
    finally:  # submitit's handler only ends the thread that calls it, and this is not the main one
        os._exit(128 + signum)
