"""What trials do in the tests of the fork server.

A module of its own, because the fork server imports it to load the task: it must not import pytest and numpy.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from wandbsweep import current_trial
from wandbsweep.trial import JobResult


class Make:
    """What the fork server loads; it returns the function of the given name, which runs a trial."""

    def __init__(self, act):
        self.act = act

    def __call__(self):
        return globals()[self.act]


class Broken:
    def __reduce__(self):
        return exec, ("raise ImportError('no module named nonesuch')",)


class UsesGpu:
    """Stands in for a module-level ``torch.zeros(1).cuda()``."""

    def __call__(self):
        import types

        sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
        return describe_process


def describe_process(trial):
    now = current_trial()
    now.report(0, {"loss": 1.0})
    place = {"pid": os.getpid(), "parent": os.getppid(), "cwd": os.getcwd(), "mark": os.environ.get("MARK")}
    return JobResult(returned=0.5, payload={**place, "current": (now.number, dict(now.params), now.metric)})


def segfault(trial):
    os.kill(os.getpid(), signal.SIGSEGV)


def kill(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def exit_3(trial):
    os._exit(3)


def exit_0(trial):
    os._exit(0)


def log_and_die(trial):
    Path(os.environ["LOG"]).write_text("first\nCUDA error: device-side assert\n")
    os._exit(1)


def fail(trial):
    raise [ValueError("no\nluck"), MemoryError("too large"), SystemExit(4)][trial.number]


def exceed_limit(trial):
    """Run out of an address space of little more than is used."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))
    return JobResult(returned=float(sum(len(bytearray(2**20)) for _ in [bytearray(2**27) for _ in range(9)])))


def enter_group_and_exceed(trial):
    """Use more memory than the control group GROUP allows."""
    Path(os.environ["GROUP"], "cgroup.procs").write_text(str(os.getpid()))
    held = [bytearray(os.urandom(2**20)) for _ in range(200)]
    return JobResult(returned=float(len(held)))


def kill_fork_server(trial):
    if not current_trial().resumed:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return JobResult(returned=1.0)


def obey(trial):
    for step in range(100):
        if current_trial().report(step, {"loss": 1.0}).stop:
            return JobResult()
    return JobResult(error="never stopped")


def save_when_asked(trial):
    """Leave a mark when it has begun, and another when it saves because it is asked to end."""
    place = Path(os.environ["PLACE"])
    now = current_trial()
    now.listening = True
    (place / "begun").touch()
    while not now.preempted:
        time.sleep(0.01)
    (place / "saved").touch()
    return JobResult()


def report_and_continue(trial):
    current_trial().report(0, {"loss": 0.0})
    Path(os.environ["PLACE"], "continued").touch()


def load_with_workers(trial):
    from torch.utils.data import DataLoader

    batches = list(DataLoader(list(range(8)), batch_size=2, num_workers=2))
    return JobResult(returned=float(len(batches)), payload=sorted(int(n) for batch in batches for n in batch))


def draw_numbers(trial):
    import numpy as np

    return JobResult(returned=0.0, payload=(random.random(), np.random.rand()))


def return_much(trial):
    return JobResult(returned=0.0, payload=b"x" * 5_000_000)


def exit_properly(trial):
    import atexit

    place = Path(os.environ["PLACE"])
    atexit.register((place / "exited").touch)
    threading.Thread(target=lambda: (time.sleep(0.05), (place / "joined").touch())).start()
    return JobResult(returned=0.0)


def report_from_threads(trial):
    def report(offset):
        for step in range(20):
            current_trial().report(20 * offset + step, {"loss": 1.0})

    threads = [threading.Thread(target=report, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return JobResult()


def import_a_module(trial):
    already = "colorsys" in sys.modules
    import colorsys  # noqa: F401

    return JobResult(returned=0.0, payload=already)


def import_slowly(trial):
    """Import a module for half a second, and work for a twentieth of one."""
    place = Path(os.environ["PLACE"])
    (place / "slow_module.py").write_text("import time; time.sleep(0.5)")
    sys.path.insert(0, str(place))
    sys.modules.pop("slow_module", None)
    import slow_module  # noqa: F401

    time.sleep(0.05)
    return JobResult(returned=0.0)
