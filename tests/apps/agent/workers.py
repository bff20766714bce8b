"""Processes that a training starts and ends; each function returns how they ended, in one word."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from wandbsweep import current_trial


def wait_for_ever() -> None:
    while True:  # Python runs a handler of its own late if the signal comes just before a long sleep
        time.sleep(0.01)


def terminate(method: str) -> str:
    """Start and terminate workers, again and again: each SIGTERM may come while the worker still starts."""
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=wait_for_ever) for _ in range(20 if method == "fork" else 1)]
    for worker in workers:
        worker.start()
        worker.terminate()
    for worker in workers:
        worker.join()
    time.sleep(1)  # longer than the agent's grace: it must not take the workers' signals for its own
    return describe({worker.exitcode for worker in workers})


def leave_pool() -> str:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map_async(time.sleep, [1000, 1000])
    pool.join()
    return "left"


def terminate_under_other_handler() -> str:
    """The training's own handler calls ours as the one before it, as Lightning's does."""
    earlier = signal.getsignal(signal.SIGTERM)
    assert callable(earlier)
    signal.signal(signal.SIGTERM, lambda *arguments: earlier(*arguments))
    try:
        return terminate("fork")
    finally:
        signal.signal(signal.SIGTERM, earlier)


def reinstall_and_terminate() -> str:
    """A worker trains, and its callback reinstalls the handlers."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        current_trial().reinstall_handlers()
        os.write(writer, b".")
        wait_for_ever()
    os.read(reader, 1)
    os.kill(pid, signal.SIGTERM)
    return describe({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def hang_up() -> str:
    worker = multiprocessing.get_context("fork").Process(target=wait_for_ever)
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGHUP)
    worker.join()
    return describe({worker.exitcode})


def terminate_program() -> str:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], preexec_fn=os.setsid)
    program.terminate()
    return describe({program.wait()})


def leave_task_in_fork() -> str:
    """The forked process exits as any does: out of the task function."""
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    return describe({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def describe(statuses: set[int | None]) -> str:
    return ",".join(map(str, sorted(statuses, key=str)))


ACTS: dict[str, Callable[[], str]] = {
    "fork": lambda: terminate("fork"),
    "spawn": lambda: terminate("spawn"),
    "forkserver": lambda: terminate("forkserver"),
    "pool": leave_pool,
    "other handler": terminate_under_other_handler,
    "reinstall": reinstall_and_terminate,
    "hang up": hang_up,
    "program": terminate_program,
    "leave the task": leave_task_in_fork,
}
