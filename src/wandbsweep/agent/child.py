"""The fork server, and the processes of trials that it forks. ``fork_server`` is the agent's side.

The fork server does the task's imports, then forks a process for each trial. It touches no GPU and starts no thread, so
that what it forks can do both. The standard library's fork server is not suitable: it keeps the environment it was
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
from wandbsweep.text import describe_error
from wandbsweep.trial import CONTINUE, Decision, JobResult, RunJob, Trial

_PR_SET_PDEATHSIG = 1
_LESSONS = 2  # trials whose imports the fork server repeats; the second may be of another kind than the first


def main() -> NoReturn:
    """Serve the agent at the other end of the socket whose descriptor the command line names."""
    descriptor, agent = map(int, sys.argv[2:4])
    # First ignore the signals, then unblock them, which the agent had blocked: one that is pending is dropped.
    handlers: dict[int, Any] = {s: signal.signal(s, signal.SIG_IGN) for s in (*WATCHED, signal.SIGHUP)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the agent, which passes it on
    _die_with(agent)
    # Python warns because of the threads of linear algebra libraries, which can be forked.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    # Otherwise torch initializes the driver to see whether there is a GPU, and the children could not use the GPU.
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
        gc.freeze()  # otherwise each child's first collection writes to nearly every page, and so copies it
        request: Request = control.recv()
        _, descriptors, _, _ = socket.recv_fds(agent, 1, 1)
        if run_job is None:
            os.close(descriptors[0])
            control.send(Broken(fault))
            control.recv()
            continue
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # otherwise each child would print what is buffered here
        me, pid = os.getpid(), os.fork()
        if pid == 0:
            # Only the fork server may hold the agent's socket: what the agent reads from it must be the server's.
            agent.close()
            control.close()
            _be_a_trial(request, run_job, descriptors[0], handlers, parent=me)
        os.close(descriptors[0])  # the trial alone holds its channel, which ends with it
        control.send(Started(pid))
        control.send(Ended(_await_end(pid)))
        # Until the agent answers, it may signal the process, so the process number must not be reused.
        reaped: Reaped = control.recv()
        os.waitpid(pid, 0)
        if lessons < _LESSONS:
            lessons += 1
            _learn(run_job, request.trial, reaped.modules)


def _load(task: bytes) -> tuple[RunJob | None, str]:
    try:
        make: Callable[[], RunJob] = pickle.loads(task)
        run_job = make()
    except (Exception, SystemExit) as error:  # the application's own imports, whatever they raise
        traceback.print_exc()
        return None, describe_error(error)
    fault = _find_fork_obstacle()
    return (None, fault) if fault else (run_job, "")


def _find_fork_obstacle() -> str:
    """Return why trials cannot be forked after the task's imports; empty: they can. Warn if threads will be missing."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return (
            "importing the task uses the GPU, and then no forked process can use it: "
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


def _learn(run_job: RunJob, trial: Trial, modules: Sequence[str]) -> None:
    """Do what every child would do again: import what ``trial`` has imported, and compose its configuration."""
    for name in modules:
        with suppress(Exception):  # the trial that needs it fails as well, with the reason
            importlib.import_module(name)
    if rehearse := getattr(run_job, "rehearse", None):
        with suppress(Exception):  # the trial itself has failed in the same way
            rehearse(trial)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
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
        # Processes that the trial forks (DataLoader workers) must neither hold the channel open nor write to it.
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
    # Exit functions that the imports have registered belong to the fork server, as in children of multiprocessing. The
    # exception is multiprocessing's own, which ends what the trial starts. It has no public name.
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
        with lock:  # several threads may report, and each must read the answer to its own report
            channel.send(Report(step, metrics))
            decision, interrupted = cast(tuple[Decision, bool], channel.recv())
        if interrupted:  # the agent received the signal first; this is not a decision of the controller
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
    """End as Python ends a process, but without tearing down what the fork server had set up."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells pools that the process ends
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)
