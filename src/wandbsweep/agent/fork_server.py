"""Trials in processes of their own, forked from a warm parent: what kills one does not kill the agent.

The agent alone touches the storage; a trial's reports come to it through a socket of the trial's own.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from wandbsweep.agent.child import Broken, Ended, Ready, Reaped, Report, Request, Result, Started
from wandbsweep.agent.signals import GRACE_S, WATCHED, SignalWatch
from wandbsweep.current import CurrentTrial, current_trial
from wandbsweep.trial import JobResult, Trial

LOOK_S = 2.0
"""How often the agent looks whether a trial that says nothing was cancelled or lost."""

_EXIT_S = 30.0  # how long a process may live on after its trial's result
_STARTER = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from wandbsweep.agent.child import main; main()"

log = logging.getLogger(__name__)


class WarmParent:
    """Runs each trial in a process forked from one that has done the task's imports.

    ``task``: a pickled callable without arguments, called once in the warm parent; what it returns runs a trial there
    (see ``agent.RunJob``). ``log_of`` finds a trial's log, for its last lines when it dies. To be made and used by
    one thread, best the main one: Linux takes the warm parent for an orphan when the thread that started it ends.
    """

    def __init__(
        self,
        task: bytes,
        *,
        watch: SignalWatch,
        log_of: Callable[[Trial], Path | None] = lambda trial: None,
        grace_s: float = GRACE_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._task = task
        self._watch = watch
        self._log_of = log_of
        self._grace_s, self._look_s = grace_s, look_s
        self._start()

    def __call__(self, trial: Trial) -> JobResult:
        """Run ``trial``, which is the current one here as well; ends it when the agent is asked to end."""
        if self._process.poll() is not None:
            self.close()
            self._start()
        ours, theirs = socket.socketpair()
        with Connection(ours.detach()) as channel, theirs:
            try:
                self._control.send(_request(current_trial(), trial))
                socket.send_fds(self._socket, [b"\0"], [theirs.fileno()])
            except OSError:
                return JobResult(crashed=self._how_parent_died())
            theirs.close()
            current = current_trial()
            current.listening = True  # a first Ctrl-C is passed on, and not raised here
            return self._attend(_Run(trial, current, channel))

    def close(self) -> None:
        """End the warm parent."""
        self._socket.close()
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        warnings = [f"-W{option}" for option in sys.warnoptions]
        command = [sys.executable, *warnings, "-c", _STARTER, json.dumps(sys.path), str(theirs.fileno())]
        # Until the new process has had time to ignore them; it inherits the mask, and here they are only late.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        try:
            self._process = subprocess.Popen(
                [*command, str(os.getpid())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._socket = ours
        self._control = Connection(os.dup(ours.fileno()))
        with suppress(OSError):  # it is dead already, which the first trial will find
            self._control.send_bytes(self._task)

    # -- one trial ------------------------------------------------------------------------------------------------

    def _attend(self, run: _Run) -> JobResult:
        try:
            while run.status is None:
                self._step(run)
        except BaseException:  # the controller's, or a second Ctrl-C
            self._kill(run)
            raise
        self._hear(run)  # what it said last
        with suppress(OSError):  # it is dead, and started anew for the next trial
            self._control.send(Reaped(run.result.modules if run.result else ()))
        return self._judge(run)

    def _step(self, run: _Run) -> None:
        """Wait for the next thing that happens to ``run``, and deal with it."""
        sources: list[Any] = [self._control, self._watch.wake]
        if not run.deaf:
            sources.append(run.channel)
        ready = wait(sources, run.patience(self._look_s))
        self._watch.drain()
        if run.channel in ready:
            self._hear_one(run)
        if self._control in ready:
            self._hear_parent(run)
        self._mind(run)

    def _hear_parent(self, run: _Run) -> None:
        try:
            message = self._control.recv()
        except (EOFError, OSError):
            run.status, run.death = -signal.SIGKILL, self._how_parent_died()
            return
        if isinstance(message, Started):
            run.pid = message.pid
        elif isinstance(message, Ended):
            run.status = message.status
        elif isinstance(message, Broken):
            run.status, run.result = 0, Result(JobResult(error=message.reason))

    def _hear_one(self, run: _Run) -> None:
        try:
            message = run.channel.recv()
        except (EOFError, OSError):
            run.deaf = True
            return
        if isinstance(message, Ready):
            run.ready = True
        elif isinstance(message, Report):
            decision = run.current.report(message.step, message.metrics)
            run.lost = decision.stop and not run.current.interrupt_requested and not run.current.is_owner()
            if not run.lost:
                with suppress(OSError):  # died meanwhile
                    run.channel.send((decision, run.current.interrupt_requested))
        elif isinstance(message, Result):
            run.result, run.deadline = message, time.monotonic() + _EXIT_S

    def _hear(self, run: _Run) -> None:
        while not run.deaf and run.channel.poll():
            self._hear_one(run)

    def _mind(self, run: _Run) -> None:
        """Pass on what asks the trial to end, and see that it does."""
        now = time.monotonic()
        if run.ready and run.result is None and now >= run.next_look:
            run.next_look = now + self._look_s
            decision = run.current.poll()
            if decision.stop and not run.current.decision.stop:
                run.lost = not run.current.is_owner()
                run.current.decision = decision
                self._ask_to_end(run, signal.SIGTERM)
        if self._watch.seen:
            self._ask_to_end(run, self._watch.seen)
        unborn = run.asked and run.pid is None
        if unborn or run.lost or (run.deadline is not None and now >= run.deadline):
            self._kill(run)  # at once where it is another's: what it saved now would be in that one's way

    def _ask_to_end(self, run: _Run, signum: signal.Signals) -> None:
        if run.deadline is None:
            run.deadline = time.monotonic() + self._grace_s
        if not run.asked or (run.ready and not run.told):
            run.asked, run.told = True, run.ready  # before it is ready, it does not mind signals
            if run.ready:
                _send(run.pid, signum)

    def _kill(self, run: _Run) -> None:
        """End ``run`` for certain; its warm parent with it where it has not started yet."""
        run.killed = True
        if run.pid is None:
            self.close()
            run.status = -signal.SIGKILL
            return
        _send(run.pid, signal.SIGKILL)
        while run.status is None:
            self._hear_parent(run)

    def _judge(self, run: _Run) -> JobResult:
        if run.lost:
            reason = run.current.decision.reason
            log.warning("Trial %d is not this agent's any more (%s); its process was ended.", run.trial.number, reason)
            return JobResult(lost=True)
        if run.result is not None:
            if not run.result.job.preempted:
                run.current.clear()
            return run.result.job
        if run.killed and run.asked:
            return JobResult(preempted=True)
        reason = run.death or f"its process {_how(run.status or 0)}"
        lines = _last_lines(self._log_of(run.trial))
        log.error("Trial %d: %s%s", run.trial.number, reason, "".join(f"\n  {line}" for line in lines))
        return JobResult(crashed="; its log ends: ".join([reason, *lines[-1:]]))

    def _how_parent_died(self) -> str:
        return f"the warm parent, which forks the trials, {_how(self._process.wait())}"


@dataclass
class _Run:
    """A trial's process, as its agent knows it."""

    trial: Trial
    current: CurrentTrial
    channel: Connection
    pid: int | None = None
    ready: bool = False
    """It has its handlers for signals."""
    deaf: bool = False
    """It has closed its end of the channel."""
    asked: bool = False
    """It is to end."""
    told: bool = False
    """It was sent a signal that says so."""
    killed: bool = False
    lost: bool = False
    result: Result | None = None
    status: int | None = None
    """What it exited with; negative: the signal that killed it."""
    death: str = ""
    deadline: float | None = None
    next_look: float = 0.0

    def patience(self, look_s: float) -> float:
        """How long nothing needs to be done about it unless something happens."""
        until = self.deadline if self.deadline is not None else math.inf
        return max(0.0, min(until - time.monotonic(), look_s))


def _request(current: CurrentTrial, trial: Trial) -> Request:
    return Request(
        trial=trial,
        current=current.copy_for_process(),
        environment=dict(os.environ),
        cwd=os.getcwd(),
        argv=list(sys.argv),
    )


def _send(pid: int | None, signum: signal.Signals) -> None:
    if pid is not None:
        with suppress(ProcessLookupError):  # only where its warm parent, which keeps it until we know, is dead too
            os.kill(pid, signum)


def _how(status: int) -> str:
    if status >= 0:
        return f"exited with status {status} before its task returned"
    with suppress(ValueError):
        hint = " (out of memory?)" if -status == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-status).name}{hint}"
    return f"was killed by signal {-status}"


def _last_lines(path: Path | None, count: int = 10) -> list[str]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip() for line in deque(lines, count) if line.strip()]
    except OSError:
        return []
