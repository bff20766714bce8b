"""A trial on several processes that its own training starts: Lightning's subprocess launcher.

Lightning starts each further process by running ``sys.argv`` again. While a trial runs, that names the application's
script and the trial's overrides, and an environment variable names an *offer*: a file that holds the trial and its
task. The script starts Hydra, whose plugin of ours then runs the offered trial instead of the application. The file is
in memory, so it never needs to be deleted. Rank 0 holds a lock on it. The kernel releases the lock when rank 0 ends,
for whatever reason, and then the other ranks end too.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wandbsweep.agent.loop import run_catching
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.current import CurrentTrial, current_trial, running
from wandbsweep.environment import set_variables
from wandbsweep.trial import RunJob, Trial

OFFER = "WANDBSWEEP_TRIAL"
_ENDING_S = 10.0  # how long another rank may live after rank 0 is done with the trial


@dataclass(frozen=True)
class TrialOffer:
    """The trial that further ranks run, and its task."""

    task: bytes
    """A pickled callable that takes a rank and returns what runs a trial there."""
    trial: Trial
    current: CurrentTrial
    separate: bool
    """Whether the trial has a process of its own, which Lightning may kill."""


@contextmanager
def name_command(script: str, trial: Trial, overrides: Sequence[str]) -> Iterator[None]:
    """For a ``with`` block, have ``sys.argv`` name the application's script and the trial's overrides.

    Args:
        script: How the application's command line names its script.
        trial: The trial, which every context around a task gets; it changes nothing here.
        overrides: The trial's overrides.
    """
    argv = list(sys.argv)
    sys.argv[:] = [script, *overrides]
    try:
        yield
    finally:
        sys.argv[:] = argv


@contextmanager
def offer_trial(task: bytes, script: str, trial: Trial, overrides: Sequence[str], *, separate: bool) -> Iterator[None]:
    """For a ``with`` block, have processes that the training starts with its own command run ``trial`` as well.

    Args:
        task: A pickled callable that takes a rank and returns what runs a trial there.
        script: The application's script, which these processes start.
        trial: The trial, which is the current one here.
        overrides: Its overrides, shown in the command line of those processes.
        separate: Whether this process is the trial's own.
    """
    offer = TrialOffer(task, trial, current_trial(), separate)
    with open(os.memfd_create("wandbsweep-trial"), "w+b") as file:
        # The path is separate and comes first, because the offer can only be unpickled with it.
        file.write(pickle.dumps(list(sys.path)) + pickle.dumps(offer))
        file.flush()
        fcntl.lockf(file, fcntl.LOCK_EX)  # the lock belongs to this process, so its forks do not hold it
        place = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        with set_variables({OFFER: place}), name_command(script, trial, overrides):
            yield


def is_further_rank() -> bool:
    """Return whether Lightning has started this process to train a trial that another process offers."""
    return OFFER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def main() -> int:
    """Run the trial that is offered, as the rank that Lightning assigns; return the exit status."""
    place = os.environ.pop(OFFER)  # not for the processes that this one starts
    file = open(place, "rb")  # noqa: SIM115  stays open for as long as this process lives
    sys.path[:] = pickle.load(file)
    offer: TrialOffer = pickle.load(file)
    _end_with_leader(file.fileno())
    try:
        make: Callable[[int], RunJob] = pickle.loads(offer.task)
        failed = _run_offer(offer, make(int(os.environ["LOCAL_RANK"])))
    except (Exception, SystemExit):  # the application's own imports, whatever they raise
        traceback.print_exc()
        failed = True
    # Lightning kills rank 0 if another rank exits with a failure. If rank 0 is the agent itself, it must survive; its
    # own training then fails.
    return int(failed and offer.separate)


def _run_offer(offer: TrialOffer, run_job: RunJob) -> bool:
    """Return whether the trial failed here. ``SweepCallback`` passes a stop on from rank 0."""
    watch = SignalWatch(patient=True)
    watch.watch_until_exit()
    with running(offer.current), watch.notifying(offer.current):
        try:
            return bool(run_catching(run_job, offer.trial).error)
        except KeyboardInterrupt:
            return False


def _end_with_leader(descriptor: int) -> None:
    """End this process, from a thread, soon after rank 0 is done with the trial, or dead."""

    def wait() -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_SH)  # blocks while rank 0 holds its lock
        time.sleep(_ENDING_S)
        os._exit(1)

    threading.Thread(target=wait, name="wandbsweep-rank0", daemon=True).start()
