"""The fork server, and the processes of trials that it forks. ``fork_server`` is the agent's side.

The fork server imports what the application's main module imports, and what ``hydra.sweeper.preload`` names, then forks
a process for each trial. What else a trial imports stays in that trial, since a module may read at import what a trial
has set. The fork server touches no GPU and starts no thread, so that what it forks can do both; if the imports do, it
says so. The standard library's fork server is not suitable: it keeps the environment it was
started with, runs ``__main__`` again in every child, and lets children outlive their agent.
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import multiprocessing.process
import multiprocessing.util
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from wandbsweep.agent.import_times import time_imports
from wandbsweep.agent.loop import run_catching
from wandbsweep.agent.messages import Broken, Ended, Freed, Ready, Request, Result, Started, Unforkable
from wandbsweep.agent.parent import end_with_parent
from wandbsweep.agent.signals import WATCHED, SignalWatch
from wandbsweep.current import running
from wandbsweep.text import describe_error
from wandbsweep.trial import JobResult, RunJob, Trial
from wandbsweep.trial_link import TrialLink


def main() -> NoReturn:
    """Serve the agent at the other end of the socket whose descriptor the command line names."""
    descriptor, agent, forks_early = map(int, sys.argv[2:5])
    # First ignore the signals, then unblock them, which the agent had blocked: one that is pending is dropped. Programs
    # that the imports start would inherit SIG_IGN.
    handlers: dict[int, Any] = {s: signal.signal(s, _ignore) for s in (*WATCHED, signal.SIGHUP)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    os.setpgid(0, 0)  # a terminal's Ctrl-C is for the agent, which passes it on
    _die_with(agent)
    # Python warns because of the threads of linear algebra libraries, which can be forked.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    # Otherwise torch initializes the driver to see whether there is a GPU, and the children could not use the GPU.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    with suppress(EOFError, OSError):  # the agent has closed its end
        _serve(socket.socket(fileno=descriptor), handlers, forks_early=bool(forks_early))
    _exit(0)


def _ignore(signum: int, frame: object) -> None:
    pass


def _serve(agent: socket.socket, handlers: Mapping[int, Any], *, forks_early: bool) -> None:
    """Fork a process for each trial that ``agent`` requests.

    Args:
        agent: The socket on which it does so.
        handlers: What signals do in a new process.
        forks_early: Whether to leave it to these processes to load the task.
    """
    control = Connection(os.dup(agent.fileno()))
    is_trial = False

    def leave() -> None:
        # Only the fork server may hold the agent's socket: what the agent reads from it must be the server's.
        agent.close()
        control.close()
        for signum, handler in () if is_trial else handlers.items():  # a process that the imports start
            signal.signal(signum, handler)

    os.register_at_fork(after_in_child=leave)
    task = control.recv_bytes()
    loaded = None if forks_early else _load(task)
    rehearsed = False
    while True:
        gc.collect()
        gc.freeze()  # otherwise each child's first collection writes to nearly every page, and so copies it
        request: Request = control.recv()
        _, descriptors, _, _ = socket.recv_fds(agent, 1, 1)
        if refusal := loaded and _find_refusal(loaded):
            os.close(descriptors[0])
            control.send(refusal)
            control.recv()
            continue
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # otherwise each child would print what is buffered here
        is_trial = True
        me, pid = os.getpid(), os.fork()
        is_trial = pid == 0
        if is_trial:
            _be_a_trial(request, loaded or task, descriptors[0], handlers, parent=me)
        os.close(descriptors[0])  # the trial alone holds its channel, which ends with it
        control.send(Started(pid))
        control.send(Ended(_await_end(pid)))
        # Until the agent answers, it may signal the process, so the process number must not be reused.
        control.recv()
        _, _, usage = os.wait4(pid, 0)
        control.send(Freed(usage.ru_maxrss / 1024))
        if loaded and loaded.run_job and not rehearsed:
            rehearsed = True
            _rehearse(loaded.run_job, request.trial)


@dataclass(frozen=True)
class _Loaded:
    """What came of loading the task."""

    run_job: RunJob | None
    fault: str
    """Why it could not be loaded."""
    import_s: float


def _load(task: bytes) -> _Loaded:
    began = time.monotonic()
    try:
        make: Callable[[], RunJob] = pickle.loads(task)
        return _Loaded(make(), "", time.monotonic() - began)
    except (Exception, SystemExit) as error:  # the application's own imports, whatever they raise
        traceback.print_exc()
        fault = describe_error(error)
        return _Loaded(None, fault, time.monotonic() - began)


def _find_refusal(loaded: _Loaded) -> Broken | Unforkable | None:
    if loaded.run_job is None:
        return Broken(loaded.fault)
    obstacle = _find_fork_obstacle()
    return Unforkable(obstacle, loaded.import_s) if obstacle else None


def _find_fork_obstacle() -> str:
    """Return why this process cannot be forked after the task's imports; empty: it can."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return "importing the task uses the GPU, and then no process that is forked can"
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        return f"importing the task, or what hydra.sweeper.preload names, starts threads, which forks lack ({names})"
    return ""


def _await_end(pid: int) -> int:
    """Wait until ``pid`` ends, without reaping it; return its exit status, negative for a signal."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _rehearse(run_job: RunJob, trial: Trial) -> None:
    """Do what can be done of ``trial`` without running it: this fills caches that every child would fill again."""
    rehearse: Callable[[Trial], object] | None = getattr(run_job, "rehearse", None)
    if rehearse:
        with suppress(Exception):  # the trial itself has failed in the same way
            rehearse(trial)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, for whatever reason."""
    if not end_with_parent(parent, signal.SIGKILL):
        os._exit(0)


# -- a trial's process ----------------------------------------------------------------------------------------------


def _be_a_trial(
    request: Request, task: _Loaded | bytes, descriptor: int, handlers: Mapping[int, Any], *, parent: int
) -> NoReturn:
    status = 1
    try:
        _die_with(parent)
        _take_on(request)
        channel = Connection(descriptor)
        # Processes that the trial forks (DataLoader workers) must neither hold the channel open nor write to it.
        os.register_at_fork(after_in_child=channel.close)
        signal.signal(signal.SIGHUP, handlers[signal.SIGHUP])
        loaded = _load(task) if isinstance(task, bytes) else task
        if loaded.run_job is None:
            channel.send(Result(JobResult(error=loaded.fault)))
        else:
            with time_imports() as import_s:
                began = time.monotonic()
                job = _run(request, loaded.run_job, channel, {signum: handlers[signum] for signum in WATCHED})
            worked_s = max(0.0, time.monotonic() - began - sum(import_s.values()))
            channel.send(Result(replace(job, worked_s=worked_s), import_s))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(status)


def _take_on(request: Request) -> None:
    """Become what a process started for this trial would be."""
    _leave_exits_to_the_server()
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.cwd)
    sys.argv[:] = request.argv
    faulthandler.enable(sys.__stderr__ or 2)


def _leave_exits_to_the_server() -> None:
    """Forget what the imports want done at the end: that, and what they have started, belongs to the fork server.

    As in children of ``multiprocessing``, whose own exit function, which ends what the trial starts, is the exception.
    Hardly anything of this has a public name.
    """
    atexit._clear()
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # such as those of temporary directories
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]
    multiprocessing.util._finalizer_registry.clear()  # type: ignore[attr-defined]
    multiprocessing.util._run_after_forkers()  # type: ignore[attr-defined]
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]


def _run(request: Request, run_job: RunJob, channel: Connection, handlers: Mapping[int, Any]) -> JobResult:
    current = request.current
    current.attach(TrialLink(current.address, descendant=False))
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
    """Do what Python does at the end of a process, but do not tear down its modules, most of which a fork shares."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells pools that the process ends
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)
