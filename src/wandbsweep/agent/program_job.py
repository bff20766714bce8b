"""Runs the program of a sweep file, as W&B's agent does: a process for each trial, and its metrics while it runs.

The program leads a session of its own, so a terminal's Ctrl-C reaches the agent alone. Who ends it, and how:

* Early termination, ``cancel``, or a signal to the agent: SIGTERM to the program's own process. If it has not ended
  after the grace, or leaves processes behind, SIGKILL to all of its group.
* The signals by which schedulers preempt (USR2), which SLURM sends to every process of a job: the program ignores them,
  since they would kill it at once, and gets SIGTERM from the agent instead.
* The agent's death: the kernel kills the program's own process.

W&B's client writes the program's runs from a helper process in another session, which ends by itself and keeps what was
logged, also of a program that was killed.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import signal
import subprocess
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

from wandbsweep.agent.parent import PR_SET_PDEATHSIG
from wandbsweep.agent.program_environment import make_environment, write_parameters
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.agent.trial_server import POLL_S, TrialServer
from wandbsweep.current import CurrentTrial, current_trial
from wandbsweep.faults import Fault, explain_kill, explain_output
from wandbsweep.files import write_atomically
from wandbsweep.launchers import PREEMPTION_SIGNALS
from wandbsweep.memory import KernelKills
from wandbsweep.programs.listening import PrintListener, WandbListener
from wandbsweep.programs.macros import expand
from wandbsweep.programs.wandb_log import Row, list_logs
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.directory import TRACEBACK
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.text import describe_error
from wandbsweep.trial import JobResult, Trial
from wandbsweep.trial_link import ADDRESS

STDOUT, STDERR = "stdout.log", "stderr.log"

_READ_S = 0.1
_REPORT_S = 0.5
"""How long reports may keep the agent from looking at signals: a program may log thousands of rows at once."""
_TAIL = 16_384  # bytes of standard error that are read
_TAIL_LINES = 60
_OWN_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)

log = logging.getLogger(__name__)


@dataclass
class _Process:
    """The program of one trial, while it runs."""

    trial: Trial
    current: CurrentTrial
    popen: subprocess.Popen[bytes]
    listener: WandbListener | PrintListener
    place: Path
    """The trial's directory."""
    errors_from: int
    """Where in the file of standard error its own lines begin."""
    kills: KernelKills
    term_at: float = math.inf
    """When it gets SIGTERM (monotonic clock)."""
    kill_at: float = math.inf
    """When it is killed (monotonic clock)."""
    next_poll: float = 0.0
    is_interrupted: bool = False
    """Whether the agent was asked to end."""
    is_lost: bool = False
    unreported: deque[Row] = field(default_factory=deque)
    """Rows that are read, but not reported yet."""
    started_at: float = field(default_factory=time.monotonic)

    def signal_group(self, signum: int) -> bool:
        """Send ``signum`` to all processes of the program's group; 0: none. Return whether there are any."""
        try:
            os.killpg(self.popen.pid, signum)
        except (ProcessLookupError, PermissionError):  # the latter: only zombies of another user are left
            return False
        return True


class ProgramJob:
    """Runs the trials of one sweep, one at a time, in processes of the sweep file's program."""

    def __init__(self, record: LaunchRecord, directory: Path, spec: SweepSpec, *, watch: SignalWatch) -> None:
        """Prepare to run trials.

        Args:
            record: What the sweep was started with; it has a program.
            directory: The sweep's directory.
            spec: The sweep configuration.
            watch: The signals that ask the agent to end.
        """
        assert record.program is not None
        self._record, self._program = record, record.program
        self._directory = directory
        self._spec = spec
        self._watch = watch
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl  # found before a fork, which must not load anything

    def __call__(self, trial: Trial) -> JobResult:
        """Run ``trial``, which is also this process's current trial; end it if it, or the agent, is asked to end."""
        place = self._directory / str(trial.number)
        place.mkdir(parents=True, exist_ok=True)
        (place / TRACEBACK).unlink(missing_ok=True)  # an earlier attempt's
        current = current_trial()
        with closing(TrialServer(current, polls=False)) as server:
            try:
                process = self._start(trial, current, place)
            except OSError as error:
                return JobResult(error=f"the program cannot be started: {describe_error(error)}")
            current.listening = True  # so that a first Ctrl-C is passed on, and not raised here
            try:
                self._watch_process(process, server)
            finally:
                self._kill_rest(process)
            self._report_rows(process, server, is_over=True)
        return self._make_result(process, server)

    def _start(self, trial: Trial, current: CurrentTrial, place: Path) -> _Process:
        words = write_parameters(self._spec, self._program, trial, place)
        environment = make_environment(self._spec, self._record, trial, place, current.address)
        command = expand(self._program.command, words, environment)
        listener: WandbListener | PrintListener
        if self._spec.metric_source == "stdout":
            wanted, limited = ([each.name for each in some] for some in (self._spec.objectives, self._spec.limits))
            listener = PrintListener(place / STDOUT, wanted, limited)
        else:
            logs = place / "wandb"
            marker = f"{ADDRESS}={current.address}".encode()
            listener = WandbListener(logs, marker, frozenset(list_logs(logs)))
        kills = KernelKills()
        with (place / STDOUT).open("ab") as stdout, (place / STDERR).open("ab") as stderr:
            errors_from = stderr.tell()  # now, since the program shares the position
            popen = subprocess.Popen(
                command,
                cwd=self._record.application.cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=self._prepare_child,
            )
            return _Process(trial, current, popen, listener, place, errors_from, kills)

    def _prepare_child(self) -> None:
        """Run in the new process before the program: only system calls, since this process may have threads."""
        self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for signum in PREEMPTION_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)

    # -- while it runs ------------------------------------------------------------------------------------------------

    def _watch_process(self, process: _Process, server: TrialServer) -> None:
        """Answer the program and report its metrics until its own process has ended."""
        ended = os.pidfd_open(process.popen.pid)
        try:
            while process.popen.poll() is None:
                ready = wait([ended, self._watch.wake_fd, *server.sources], 0 if process.unreported else _READ_S)
                self._watch.drain()
                server.handle(ready)
                process.is_lost |= server.lost
                self._report_rows(process, server)
                self._enforce(process, server)
        finally:
            os.close(ended)

    def _report_rows(self, process: _Process, server: TrialServer, *, is_over: bool = False) -> None:
        """Report what the program has logged or printed, unless it reports by ``current_trial()`` itself."""
        current, until = process.current, time.monotonic() + _REPORT_S
        process.unreported.extend(process.listener.read(is_over=is_over))
        while process.unreported and (is_over or time.monotonic() < until):
            row = process.unreported.popleft()
            if server.has_reports or current.decision.stop or not row.metrics:
                continue
            if current.report(row.step, row.metrics).stop:
                process.term_at = time.monotonic()
                process.is_lost |= not current.is_owner()

    def _enforce(self, process: _Process, server: TrialServer) -> None:
        """Ask the program to end if it must, and kill it if it does not end in time."""
        now, current = time.monotonic(), process.current
        if now >= process.next_poll and not current.decision.stop:
            process.next_poll = now + POLL_S
            decision = current.poll()
            if decision.stop:
                current.decision, process.term_at = decision, now
                process.is_lost |= not current.is_owner()
        elif current.decision.stop and process.term_at == math.inf:  # it knows, and may end by itself
            process.term_at = now + self._program.grace_s
        if self._watch.received and not process.is_interrupted:
            process.is_interrupted, process.term_at = True, now
        if now >= process.term_at and process.kill_at == math.inf:
            process.kill_at = now + self._program.grace_s
            process.popen.terminate()
        if process.is_lost or now >= process.kill_at:
            process.signal_group(signal.SIGKILL)

    def _kill_rest(self, process: _Process) -> None:
        """End what the program has left behind: its own process, too, if the agent failed."""
        is_asked = process.kill_at < math.inf and process.popen.poll() is not None
        # A shell that gets SIGTERM ends before what it has started, which is asked here.
        if is_asked and not process.is_lost and process.signal_group(signal.SIGTERM):
            while time.monotonic() < process.kill_at and process.signal_group(0):
                time.sleep(_READ_S)
        process.signal_group(signal.SIGKILL)
        process.popen.wait()

    # -- when it has ended --------------------------------------------------------------------------------------------

    def _make_result(self, process: _Process, server: TrialServer) -> JobResult:
        """Return the result of a program that has ended."""
        current, status = process.current, process.popen.returncode
        worked_s = time.monotonic() - process.started_at
        if process.is_lost:
            log.warning("Trial %d is not this agent's any more; its program was ended.", process.trial.number)
            return JobResult(lost=True)
        if process.is_interrupted:
            return JobResult(preempted=True, worked_s=worked_s)
        if current.decision.stop:
            return JobResult(worked_s=worked_s)
        if status == 0:
            return self._conclude(process, server, worked_s)
        errors = _read_tail(process.place / STDERR, process.errors_from)
        fault = self._explain(process, errors)
        with suppress(OSError):  # a full disk must not hide why the trial failed
            write_atomically(process.place / TRACEBACK, errors)
        log.error("Trial %d: %s", process.trial.number, fault.reason)
        if status < 0 and not fault.cause:
            from_outside = -status not in _OWN_FAULTS
            return JobResult(crashed=fault.reason, killed=from_outside, worked_s=worked_s)
        return JobResult(error=fault.reason, cause=fault.cause, metrics=fault.metrics, worked_s=worked_s)

    def _explain(self, process: _Process, errors: str) -> Fault:
        status = process.popen.returncode
        if status < 0:
            reason = f"its process was killed by {_name_signal(-status)}"
            killed = explain_kill(process.kills, reason, None) if status == -signal.SIGKILL else None
            return killed or Fault(reason)
        how = process.kills.describe_new()
        shell = f" ({_name_signal(status - 128)})" if 128 < status < 160 else ""
        return explain_output(f"{how}: " * bool(how) + f"exit status {status}{shell}", errors)

    def _conclude(self, process: _Process, server: TrialServer, worked_s: float) -> JobResult:
        """Return the result of a program that has ended well, or say why its metrics could not be read."""
        metric, listener = self._spec.metric, process.listener
        fault = listener.describe_fault()
        if fault and not server.has_reports:
            return JobResult(error=f"the log of W&B's client cannot be read: {fault}", worked_s=worked_s)
        summary = None if metric is None else listener.find_summary(metric.name)
        return JobResult(returned=summary, worked_s=worked_s)


def _read_tail(path: Path, start: int) -> str:
    """Return the last lines of ``path`` after the byte ``start``."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _TAIL))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
