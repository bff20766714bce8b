"""The agent's side of trials in processes of their own, so that what kills a trial does not kill its agent.

A fork server (``child``) does the task's imports once and forks a process for each trial. If it cannot be forked after
these imports, another one forks before them: each trial imports the task itself then. Only the agent touches the
storage: a trial's reports reach it through a socket pair. ``messages`` shows who sends which message.

The consequences of a SIGKILL:

* of the trial's process, at any time: Ended arrives. If there was a Result, the trial is done, otherwise it crashed.
* of the fork server: the kernel kills the trial's process with it. The agent reads the end of its socket, and the trial
  has crashed. The next trial starts another fork server.
* of the agent: the kernel kills the fork server, and with it the trial's process. The trial's lease expires.
"""

from __future__ import annotations

import enum
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
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from wandbsweep.agent.messages import Broken, Ended, Freed, Ready, Reaped, Request, Result, Started, Unforkable
from wandbsweep.agent.signals import GRACE_S, WATCHED, SignalWatch
from wandbsweep.agent.trial_server import POLL_S, TrialServer
from wandbsweep.current import CurrentTrial, current_trial
from wandbsweep.faults import explain_kill
from wandbsweep.memory import KernelKills
from wandbsweep.trial import JobResult, Trial
from wandbsweep.trial_link import ADDRESS

_SLOW_IMPORT_S = 0.2  # what importing a module takes at least, to be worth a remark
_ADVISED = 4  # how many modules are named
_EXIT_S = 30.0  # how long a process may live after its trial's result
_SERVER_EXIT_S = 3.0  # how long the fork server may take to end
_STARTER = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from wandbsweep.agent.child import main; main()"

_OWN_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)
"""The signals that end a process for what it did itself."""

log = logging.getLogger(__name__)


class ProcessState(enum.IntEnum):
    """The stage of a trial's process. It only moves down this list, and may skip stages."""

    STARTING = enum.auto()
    """It was requested. It may not exist yet, and if it does, it ignores signals."""
    RUNNING = enum.auto()
    """It runs the task, and obeys signals."""
    STOP_REQUESTED = enum.auto()
    """It was sent a signal that asks it to save and end."""
    RETURNED = enum.auto()
    """It has sent its result, and exits."""
    KILLED = enum.auto()
    """It was sent SIGKILL, because it did not end in time."""
    LOST = enum.auto()
    """Another agent has the trial. The process is killed, and its messages no longer count."""


@dataclass
class TrialProcess:
    """A trial's process, as its agent knows it."""

    trial: Trial
    server: TrialServer
    channel: Connection
    pid: int | None = None
    """None: as far as the agent knows, it is not forked yet."""
    state: ProcessState = ProcessState.STARTING
    channel_closed: bool = False
    """Whether it has closed its end of the channel, or died."""
    result: Result | None = None
    status: int | None = None
    """Its exit status; negative: the signal that killed it; None: it lives."""
    death: str = ""
    """How the fork server died, if that ended the process."""
    deadline: float = math.inf
    """When to kill it if it has not ended (monotonic clock)."""
    next_poll: float = 0.0
    kills: KernelKills = field(default_factory=KernelKills)
    """The kernel's count from before the process was requested."""
    peak_mib: float | None = None
    """The most memory that it used, once that is known."""
    ready_at: float | None = None
    """When its task began (monotonic clock); None: it has not, as far as the agent knows."""
    unforkable: Unforkable | None = None
    """Why it cannot be forked, in which case it is not."""

    @property
    def current(self) -> CurrentTrial:
        return self.server.current

    def advance(self, state: ProcessState) -> None:
        self.state = max(self.state, state)

    def send_signal(self, signum: signal.Signals) -> None:
        # The fork server keeps the process as a zombie until Reaped, so the number cannot be another process's.
        if self.pid is not None:
            with suppress(ProcessLookupError):  # the fork server is dead, and the kernel has reaped the process
                os.kill(self.pid, signum)


class ForkServer:
    """Runs each trial in a process forked from one that has done the task's imports.

    One thread must make and use it, best the main one: for Linux a process is an orphan when the thread that started it
    has ended.
    """

    def __init__(
        self,
        task: bytes,
        *,
        watch: SignalWatch,
        find_log: Callable[[Trial], Path | None] = lambda trial: None,
        grace_s: float = GRACE_S,
        poll_s: float = POLL_S,
    ) -> None:
        """Start the fork server; it loads the task while this process continues.

        Args:
            task: A pickled callable without arguments, called once in the fork server. What it returns runs a trial in
                each forked process (``wandbsweep.trial.RunJob``).
            watch: The signals that ask the agent to end; they are passed on to the running trial.
            find_log: Returns a trial's log file, whose last lines are shown if its process dies.
            grace_s: How long a trial may take to save and end.
            poll_s: How often to ask whether a silent trial was cancelled or taken over.
        """
        self._task = task
        self._watch = watch
        self._find_log = find_log
        self._grace_s, self._poll_s = grace_s, poll_s
        self._forks_early = False
        self._advised = False
        self._start()

    def __call__(self, trial: Trial) -> JobResult:
        """Run ``trial``, which is also this process's current trial; end it if the agent is asked to end."""
        result = self._run(trial)
        if isinstance(result, Unforkable):
            log.warning(
                "Each trial starts from a fresh interpreter, which costs it %.1f s, because %s.",
                result.import_s,
                result.reason,
            )
            self._forks_early = True
            self.close()
            result = self._run(trial)
            assert isinstance(result, JobResult)
        return result

    def _run(self, trial: Trial) -> JobResult | Unforkable:
        if self._server.poll() is not None:
            self.close()
            self._start()
        current = current_trial()
        ours, theirs = socket.socketpair()
        with (
            closing(TrialServer(current, polls=False)) as server,
            Connection(ours.detach()) as channel,
            theirs,
        ):
            try:
                environment = {**os.environ, ADDRESS: current.address}
                self._control.send(Request(trial, current, environment, os.getcwd(), list(sys.argv)))
                socket.send_fds(self._socket, [b"\0"], [theirs.fileno()])
            except OSError:
                crashed = self._describe_server_death()
                return JobResult(crashed=crashed, killed=_is_from_outside(self._server.returncode))
            # Only the trial may hold its end of the channel, so that its death closes the channel.
            theirs.close()
            current.listening = True  # so that a first Ctrl-C is passed on, and not raised here
            return self._attend(TrialProcess(trial, server, channel))

    def close(self) -> None:
        """End the fork server when it has ended what its imports have started."""
        self._socket.close()
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(_SERVER_EXIT_S)
        self._kill_server()

    def _kill_server(self) -> None:
        """End the fork server, and with it the process of a trial, if there is one."""
        self._socket.close()
        self._control.close()
        self._server.kill()
        self._server.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        warnings = [f"-W{option}" for option in sys.warnoptions]
        command = [sys.executable, *warnings, "-c", _STARTER, json.dumps(sys.path), str(theirs.fileno())]
        command += [str(os.getpid()), str(int(self._forks_early))]
        # A signal must not kill the new process before it ignores signals. So they are blocked here. The process
        # inherits that, and unblocks them when its handlers are set. In this process they only arrive late.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        try:
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._socket = ours
        # There are two objects on one socket: messages go through the Connection, descriptors through the socket.
        self._control = Connection(os.dup(ours.fileno()))
        with suppress(OSError):  # if it is dead already, the first trial notices
            self._control.send_bytes(self._task)

    # -- one trial ------------------------------------------------------------------------------------------------

    def _attend(self, process: TrialProcess) -> JobResult | Unforkable:
        """Serve ``process`` until it has ended."""
        try:
            while process.status is None:
                self._step(process)
        except BaseException:  # the controller's, or a second Ctrl-C
            self._kill(process)
            raise
        # Ended comes through another socket than the trial's messages, and may arrive before the last of them.
        while not process.channel_closed and process.channel.poll():
            self._receive(process)
        self._free(process)
        if process.unforkable is not None:
            return process.unforkable
        if process.result is not None and not self._forks_early:
            self._advise(process.result.import_s)
        return self._judge(process)

    def _free(self, process: TrialProcess) -> None:
        """Have the fork server reap the process, and learn how much memory it used."""
        with suppress(OSError, EOFError):  # the fork server is dead; the next trial starts another
            self._control.send(Reaped())
            if process.pid is not None and not process.death:
                freed = self._control.recv()
                assert isinstance(freed, Freed)
                process.peak_mib = freed.peak_mib

    def _advise(self, import_s: Mapping[str, float]) -> None:
        """Log once what importing modules ahead would save."""
        slow = [name for name in sorted(import_s, key=lambda name: -import_s[name]) if import_s[name] >= _SLOW_IMPORT_S]
        if self._advised or not slow:
            return
        self._advised = True
        times = ", ".join(f"{name} {import_s[name]:.1f} s" for name in slow[:_ADVISED])
        log.info(
            "Each trial imports %s. hydra.sweeper.preload=[%s] does that once per agent; use it if what they read at "
            "import, such as environment variables, is the same for all trials.",
            times,
            ",".join(slow[:_ADVISED]),
        )

    def _step(self, process: TrialProcess) -> None:
        """Wait for the next event of ``process``, and handle it."""
        sources: list[Any] = [self._control, self._watch.wake_fd, *process.server.sources]
        if not process.channel_closed:
            sources.append(process.channel)
        ready = wait(sources, max(0.0, min(process.deadline - time.monotonic(), self._poll_s)))
        self._watch.drain()
        if process.channel in ready:
            self._receive(process)
        process.server.handle(ready)
        if process.server.lost:
            process.advance(ProcessState.LOST)
        if self._control in ready:
            self._receive_from_server(process)
        self._enforce(process)

    def _receive_from_server(self, process: TrialProcess) -> None:
        try:
            message = self._control.recv()
        except (EOFError, OSError):
            process.status, process.death = -signal.SIGKILL, self._describe_server_death()
            return
        if isinstance(message, Started):
            process.pid = message.pid
        elif isinstance(message, Ended):
            process.status = message.status
        elif isinstance(message, Broken):
            process.status, process.result = 0, Result(JobResult(error=message.reason))
        elif isinstance(message, Unforkable):
            process.status, process.unforkable = 0, message

    def _receive(self, process: TrialProcess) -> None:
        try:
            message = process.channel.recv()
        except (EOFError, OSError):
            process.channel_closed = True
            return
        if isinstance(message, Ready):
            process.ready_at = time.monotonic()
            process.advance(ProcessState.RUNNING)
        elif isinstance(message, Result):
            process.result, process.deadline = message, time.monotonic() + _EXIT_S
            process.advance(ProcessState.RETURNED)

    def _enforce(self, process: TrialProcess) -> None:
        """Ask ``process`` to end if it must, and kill it if it does not end in time."""
        now = time.monotonic()
        if process.state in (ProcessState.RUNNING, ProcessState.STOP_REQUESTED) and now >= process.next_poll:
            process.next_poll = now + self._poll_s
            decision = process.current.poll()
            if decision.stop and not process.current.decision.stop:
                process.current.decision = decision
                if process.current.is_owner():
                    self._request_stop(process, signal.SIGTERM)
                else:
                    process.advance(ProcessState.LOST)
        if self._watch.received:
            self._request_stop(process, self._watch.received)
        unborn = self._watch.received and process.pid is None
        if unborn or now >= process.deadline or process.state == ProcessState.LOST:
            self._kill(process)

    def _request_stop(self, process: TrialProcess, signum: signal.Signals) -> None:
        if process.state < ProcessState.RETURNED:
            process.deadline = min(process.deadline, time.monotonic() + self._grace_s)
        # While it starts, it ignores signals: this is called again when it is ready. One signal is enough.
        if process.state == ProcessState.RUNNING:
            process.advance(ProcessState.STOP_REQUESTED)
            process.send_signal(signum)

    def _kill(self, process: TrialProcess) -> None:
        """End ``process`` for certain; the fork server with it if the process does not exist yet."""
        process.advance(ProcessState.KILLED)
        if process.pid is None:
            self._kill_server()
            process.status = -signal.SIGKILL
            return
        process.send_signal(signal.SIGKILL)
        while process.status is None:
            self._receive_from_server(process)

    def _judge(self, process: TrialProcess) -> JobResult:
        """Return the result of a process that has ended."""
        number, current = process.trial.number, process.current
        if process.state == ProcessState.LOST:
            log.warning(
                "Trial %d is not this agent's any more (%s); its process was ended.", number, current.decision.reason
            )
            return JobResult(lost=True)
        if process.result is not None:
            # The interruption may have reached another of the trial's processes.
            job = process.result.job
            return replace(job, preempted=job.preempted or current.interrupt_requested)
        worked_s = 0.0 if process.ready_at is None else time.monotonic() - process.ready_at
        if process.state == ProcessState.KILLED:  # without a result, only a stop has a deadline
            return JobResult(preempted=True, worked_s=worked_s)
        reason = process.death or f"its process {_describe_status(process.status or 0)}"
        fault = explain_kill(process.kills, reason, process.peak_mib) if process.status == -signal.SIGKILL else None
        reason = fault.reason if fault else reason
        lines = _read_last_lines(self._find_log(process.trial))
        log.error("Trial %d: %s%s", number, reason, "".join(f"\n  {line}" for line in lines))
        if fault:
            return JobResult(error=fault.reason, cause=fault.cause, metrics=fault.metrics, worked_s=worked_s)
        killed = not process.death and _is_from_outside(process.status or 0)
        crashed = "; its log ends: ".join([reason, *lines[-1:]])
        return JobResult(crashed=crashed, killed=killed, worked_s=worked_s)

    def _describe_server_death(self) -> str:
        return f"the fork server, which starts the trials, {_describe_status(self._server.wait())}"


def _is_from_outside(status: int) -> bool:
    """Whether a process with this exit status was ended by a signal that it did not cause itself."""
    return status < 0 and -status not in _OWN_FAULTS


def _describe_status(status: int) -> str:
    if status >= 0:
        return f"exited with status {status} before its task returned"
    with suppress(ValueError):
        hint = " (out of memory?)" if -status == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-status).name}{hint}"
    return f"was killed by signal {-status}"


def _read_last_lines(path: Path | None, count: int = 10) -> list[str]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip() for line in deque(lines, count) if line.strip()]
    except OSError:
        return []
