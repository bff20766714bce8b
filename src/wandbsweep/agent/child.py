"""The fork server, and the processes of trials that it forks. ``fork_server`` is the agent's side.

The fork server does the task's imports, then forks a process for each trial. It touches no GPU and starts no thread, so
that what it forks can do both. The standard library's fork server does not serve: it keeps the environment it was
started with, runs ``__main__`` again in every child, and lets children outlive their agent.
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
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, NoReturn, cast

from wandbsweep.agent.loop import run_catching
from wandbsweep.agent.messages import Broken, Ended, Ready, Reaped, Report, Request, Result, Started
from wandbsweep.agent.signals import WATCHED, SignalWatch
from wandbsweep.current import running
from wandbsweep.trial import CONTINUE, Decision, JobResult, RunJob, Trial

_PR_SET_PDEATHSIG = 1
_LESSONS = 2  # trials whose imports the fork server learns; the second may be of another kind than the first


def main() -> NoReturn:
    """Serve the agent at the other end of the socket whose descriptor the command line names."""
    descriptor, agent = map(int, sys.argv[2:4])
    # Ignore the signals first, and lift the agent's mask then: one that came meanwhile is dropped, not deadly.
    handlers: dict[int, Any] = {s: signal.signal(s, signal.SIG_IGN) for s in (*WATCHED, signal.SIGHUP)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the agent, which passes it on
    _die_with(agent)
    # Python counts the threads of linear algebra libraries, which know how to be forked.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    # Else torch asks the driver whether there is a GPU, and the children could not use it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    with suppress(EOFError, OSError):  # the agent has closed its end
        _serve(socket.socket(fileno=descriptor), handlers)
    os._exit(0)


def _serve(agent: socket.socket, handlers: Mapping[int, Any]) -> None:
    """Fork a process for each trial that ``agent`` requests; ``handlers`` is what signals do in a new process."""
    control = Connection(os.dup(agent.fileno()))
    run_job, fault = _load(control.recv_bytes())
    lessons = 0
    while True:
        gc.collect()
        gc.freeze()  # else each child's first collection writes to, and so copies, nearly every page
        request: Request = control.recv()
        _, descriptors, _, _ = socket.recv_fds(agent, 1, 1)
        if run_job is None:
            os.close(descriptors[0])
            control.send(Broken(fault))
            control.recv()
            continue
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else each child would print what is buffered here
        me, pid = os.getpid(), os.fork()
        if pid == 0:
            # Only the fork server may hold the agent's socket: what the agent reads from it must be the server's.
            agent.close()
            control.close()
            _be_a_trial(request, run_job, descriptors[0], handlers, parent=me)
        os.close(descriptors[0])  # the trial alone holds its channel, which ends with it
        control.send(Started(pid))
        control.send(Ended(_await_end(pid)))
        # Until the agent answers it may signal the process, so the number must stay taken.
        reaped: Reaped = control.recv()
        os.waitpid(pid, 0)
        if lessons < _LESSONS:
            lessons += 1
            _import(reaped.modules)
            _rehearse(run_job, request.trial)


def _load(task: bytes) -> tuple[RunJob | None, str]:
    try:
        make: Callable[[], RunJob] = pickle.loads(task)
        run_job = make()
    except (Exception, SystemExit) as error:  # the application's own imports, whatever they raise
        traceback.print_exc()
        return None, " ".join(traceback.format_exception_only(error)[-1].split())
    fault = _find_fork_obstacle()
    return (None, fault) if fault else (run_job, "")


def _find_fork_obstacle() -> str:
    """Return why trials cannot be forked after the task's imports; empty: they can. Warn if threads will be missing."""
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


def _await_end(pid: int) -> int:
    """Wait until ``pid`` ends, without reaping it; return its exit status, negative for a signal."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        if name not in sys.modules:
            with suppress(Exception):  # the trial that needs it will fail as well, and say why
                importlib.import_module(name)


def _rehearse(run_job: RunJob, trial: Trial) -> None:
    """Do what can be done of ``trial`` without running it: this fills caches that every child would fill again."""
    rehearse: Callable[[Trial], object] | None = getattr(run_job, "rehearse", None)
    if rehearse:
        with suppress(Exception):  # the trial itself has failed in the same way
            rehearse(trial)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(0)


# -- a trial's process ----------------------------------------------------------------------------------------------


def _be_a_trial(
    request: Request, run_job: RunJob, descriptor: int, handlers: Mapping[int, Any], *, parent: int
) -> NoReturn:
    status = 1
    try:
        _die_with(parent)
        _take_on(request)
        before = set(sys.modules)
        channel = Connection(descriptor)
        # What the trial forks (DataLoader workers) must not hold the channel open, let alone write to it.
        os.register_at_fork(after_in_child=channel.close)
        signal.signal(signal.SIGHUP, handlers[signal.SIGHUP])
        job = _run(request, run_job, channel, {signum: handlers[signum] for signum in WATCHED})
        channel.send(Result(job, [name for name in sys.modules if name not in before]))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(status)


def _take_on(request: Request) -> None:
    """Become what a process started for this trial would be."""
    # What the imports have registered to run at exit is the fork server's, as in the children of multiprocessing;
    # except multiprocessing's own function, which ends what the trial starts. It has no public name.
    atexit._clear()
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.cwd)
    sys.argv[:] = request.argv
    faulthandler.enable(sys.__stderr__ or 2)
    multiprocessing.set_start_method("fork", force=True)  # others take seconds to start a DataLoader's workers
    if numpy := sys.modules.get("numpy"):  # `random` does this by itself
        numpy.random.seed()


def _run(request: Request, run_job: RunJob, channel: Connection, handlers: Mapping[int, Any]) -> JobResult:
    current, lock = request.current, threading.Lock()

    def send(step: int, metrics: Mapping[str, float]) -> Decision:
        with lock:  # threads of the training may report: each must read the answer to its own report
            channel.send(Report(step, metrics))
            decision, interrupted = cast(tuple[Decision, bool], channel.recv())
        if interrupted:  # the agent received the signal first; it is no decision of the controller's
            current.interrupt(decision.reason)
            return CONTINUE
        return decision

    current.send = send
    watch = SignalWatch(patient=True)
    watch.watch_until_exit(handlers)
    with running(current), watch.notifying(current):
        # Only now: before, a signal would have been ignored.
        channel.send(Ready())
        try:
            result = run_catching(run_job, request.trial)
        except KeyboardInterrupt:
            result = JobResult()
        watch.hold()  # from here on a Ctrl-C must not keep the result from being sent
    interrupted = current.interrupt_requested
    stopped = current.decision.reason if current.decision.stop and not interrupted else ""
    return replace(result, preempted=interrupted or result.preempted, stopped=stopped)


def _exit(status: int) -> NoReturn:
    """End as Python ends a process, but without taking down what the fork server had built up."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells pools that the process ends
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)
