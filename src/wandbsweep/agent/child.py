"""The warm parent: does the imports, then forks a process for each trial. See ``warm`` for the agent's side.

It touches no GPU and starts no thread, so that what it forks can do both. Not the standard library's fork server: that
one keeps the environment it was started with, runs ``__main__`` again in every child, and lets children outlive their
agent.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import importlib
import multiprocessing.util
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import NoReturn, cast

from wandbsweep.agent.loop import outcome_of
from wandbsweep.agent.signals import WATCHED, SignalWatch
from wandbsweep.current import CurrentTrial, running
from wandbsweep.trial import CONTINUE, Decision, JobResult, RunJob, Trial

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Request:
    """Agent → parent, with a descriptor: run this trial, and talk to the agent through that."""

    trial: Trial
    current: CurrentTrial
    environment: Mapping[str, str]
    cwd: str
    argv: Sequence[str]


@dataclass(frozen=True)
class Started:
    """Parent → agent."""

    pid: int


@dataclass(frozen=True)
class Ended:
    """Parent → agent; the process stays a zombie, so that its number is nobody else's, until ``Reaped``."""

    status: int


@dataclass(frozen=True)
class Broken:
    """Parent → agent: the task itself cannot be loaded."""

    reason: str


@dataclass(frozen=True)
class Reaped:
    """Agent → parent: nobody will signal the process any more."""

    modules: Sequence[str] = ()
    """What it had to import, for the parent to do it in advance next time."""


@dataclass(frozen=True)
class Ready:
    """Trial → agent: from now on it minds signals."""


@dataclass(frozen=True)
class Report:
    """Trial → agent, which answers with a Decision, and whether that is only because a signal asks to end."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """Trial → agent: its task is done."""

    job: JobResult
    modules: Sequence[str] = ()


def main() -> NoReturn:
    """Serve the agent at the other end of the socket whose descriptor the command line names."""
    descriptor, agent = map(int, sys.argv[2:4])
    for signum in (*WATCHED, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    os.setpgid(0, 0)  # a terminal's Ctrl-C is the agent's to pass on
    _die_with(agent)
    # Python counts the threads of linear algebra libraries, which know how to be forked.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    # Else torch asks the driver whether there is a GPU, and the children could not use it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    with suppress(EOFError, OSError):  # the agent has gone
        _serve(socket.socket(fileno=descriptor))
    os._exit(0)


def _serve(place: socket.socket) -> None:
    control = Connection(os.dup(place.fileno()))
    run_job, fault = _load(control.recv_bytes())
    learnt = 0
    while True:
        gc.collect()
        gc.freeze()  # else each child's first collection copies nearly every page
        request: Request = control.recv()
        _, descriptors, _, _ = socket.recv_fds(place, 1, 1)
        if run_job is None:
            os.close(descriptors[0])
            control.send(Broken(fault))
            control.recv()
            continue
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        me, pid = os.getpid(), os.fork()
        if pid == 0:
            place.close()
            control.close()
            _be_a_trial(request, run_job, descriptors[0], parent=me)
        os.close(descriptors[0])
        control.send(Started(pid))
        control.send(Ended(_await(pid)))
        reaped: Reaped = control.recv()
        os.waitpid(pid, 0)
        if learnt < 2:  # the first trial shows what is needed; a second may be of another kind
            learnt += 1
            _import(reaped.modules)
            _rehearse(run_job, request.trial)


def _load(task: bytes) -> tuple[RunJob | None, str]:
    try:
        make: Callable[[], RunJob] = pickle.loads(task)
        run_job = make()
    except (Exception, SystemExit) as error:  # the application's own imports, whatever they raise
        traceback.print_exc()
        return None, " ".join(traceback.format_exception_only(error)[-1].split())
    fault = _unforkable()
    return (None, fault) if fault else (run_job, "")


def _unforkable() -> str:
    """What the task's imports have done that its trials could not do after them; empty: nothing."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return (
            "importing the task uses the GPU, and then no process that is forked can: "
            "let the task function do it, or set hydra.sweeper.isolation=none"
        )
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate()[1:])
        print(
            f"wandbsweep: importing the task started threads, which its trials will not have: {names}", file=sys.stderr
        )
    return ""


def _await(pid: int) -> int:
    """The exit status of ``pid``, negative for a signal; it is not reaped."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        if name not in sys.modules:
            with suppress(Exception):  # it will fail where it is needed, or not
                importlib.import_module(name)


def _rehearse(run_job: RunJob, trial: Trial) -> None:
    """Do what can be done of ``trial`` without running it: it fills caches that every child would fill again."""
    rehearse: Callable[[Trial], object] | None = getattr(run_job, "rehearse", None)
    if rehearse:
        with suppress(Exception):  # it was told by the trial itself
            rehearse(trial)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which happened before
        os._exit(0)


# -- a trial's process ----------------------------------------------------------------------------------------------


def _be_a_trial(request: Request, run_job: RunJob, descriptor: int, *, parent: int) -> NoReturn:
    status = 1
    try:
        _die_with(parent)
        _take_on(request)
        before = set(sys.modules)
        channel = Connection(descriptor)
        # What the trial forks (DataLoader workers) must not hold the channel open, let alone use it.
        os.register_at_fork(after_in_child=channel.close)
        job = _run(request, run_job, channel)
        channel.send(Result(job, [name for name in sys.modules if name not in before]))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(status)


def _take_on(request: Request) -> None:
    """Become what a process started for this trial would be."""
    # What the imports want to be done at exit is the parent's, as in the children of multiprocessing; but for this one,
    # which ends what the trial starts.
    atexit._clear()
    # multiprocessing has no public name for what it does at exit, and has registered it in the parent only.
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.cwd)
    sys.argv[:] = request.argv
    faulthandler.enable(sys.__stderr__ or 2)
    multiprocessing.set_start_method("fork", force=True)  # others take seconds to start a DataLoader's workers
    if numpy := sys.modules.get("numpy"):  # `random` does this by itself
        numpy.random.seed()


def _run(request: Request, run_job: RunJob, channel: Connection) -> JobResult:
    trial, lock = request.trial, threading.Lock()

    def send(step: int, metrics: Mapping[str, float]) -> Decision:
        with lock:
            channel.send(Report(step, metrics))
            decision, told = cast(tuple[Decision, bool], channel.recv())
        if told:  # by the agent, which heard of the signal first
            current.interrupt(decision.reason)
            return CONTINUE
        return decision

    current = request.current
    current.send = send
    watch = SignalWatch(patient=True)
    watch.watch_for_good()
    with running(current), watch.telling(current):
        channel.send(Ready())
        try:
            result = outcome_of(run_job, trial)
        except KeyboardInterrupt:
            result = JobResult()
        watch.hold()
    stopped = current.decision.reason if current.decision.stop and not current.interrupt_requested else ""
    return replace(result, preempted=current.interrupt_requested or result.preempted, stopped=stopped)


def _leave(status: int) -> NoReturn:
    """End as Python ends a process, but for taking down what the warm parent had built up."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells pools that it does
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)
