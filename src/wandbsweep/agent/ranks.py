"""A trial on several tasks of one job: rank 0 is the agent, and the others run whatever trial it runs.

A launcher with ``tasks_per_node`` or ``nodes`` runs an agent's callable in each task. Only rank 0's speaks to the
controller, through a ``Leader``, which says in files beside the agent's log what it does; the others' loops are the
same (``agent.run_agent``), with a ``Follower`` in the controller's place, which reads those files and never touches the
store. Who lives holds a file locked: the kernel lets go of it however a process ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pickle
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from wandbsweep.controllers.base import Controller
from wandbsweep.environment import restore_variables
from wandbsweep.errors import SweepError
from wandbsweep.launchers import PREEMPTION_SIGNALS, Rank
from wandbsweep.trial import CONTINUE, Decision, Outcome, Trial

RANKS = "ranks"
"""Beside an agent's log: where its ranks find each other."""
POLL_S = 0.02
"""How often the ranks look for each other between trials."""
ENDING_S = 10.0
"""How long a rank may go on with a trial that is over for rank 0, or rank 0 with one that failed on another."""

_JOIN_S = 600.0  # a job's tasks start together, but their first imports may come from a slow file system
_LEAVE_S = 20.0  # below SLURM's KillWait of 30
_ALIVE_S = 1.0
_CAUSE_S = 2.0
_SETTLE_S = 120.0
_IDLE_S, _IDLE_POLL_S = 10.0, 0.2

# What torch, and Lightning, leave in the environment.
_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE")

log = logging.getLogger(__name__)


class RankLost(SweepError):
    """A task of the agent's job has ended before its time."""


def find_host(rank: Rank) -> str:
    """Return the name under which the other ranks reach this process, rank 0."""
    if rank.nodes == 1:
        return "127.0.0.1"
    # SLURM's names of nodes may be known to SLURM alone.
    own = socket.gethostname()
    return next((name for name in (os.environ.get("SLURMD_NODENAME"), own) if name and _resolves(name)), own)


def torch_environment(rank: Rank, session: Session) -> dict[str, str]:
    """Return the variables by which torch and Lightning find the other ranks, as ``torchrun`` sets them.

    Empty for a single rank. Variables that the user or the scheduler sets are left out.
    """
    if rank.size == 1:
        return {}
    if rank.found_by_torch:  # only the address is missing; Lightning derives the port from the job's id
        return {} if "MASTER_ADDR" in os.environ else {"MASTER_ADDR": session.host}
    numbers = {"RANK": rank.number, "WORLD_SIZE": rank.size, "LOCAL_RANK": rank.local, "NODE_RANK": 0}
    variables = {name: str(value) for name, value in numbers.items()}
    return {**variables, "MASTER_ADDR": session.host, "MASTER_PORT": str(session.port)}


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class _Said:
    """Rank 0, of its trials: ``trial``, its ``sequence``-th, began, was closed; or there are no more."""

    sequence: int = 0
    state: Literal["open", "closed", "over"] = "closed"
    trial: Trial | None = None


@dataclass(frozen=True)
class _Done:
    """Another rank, of rank 0's ``sequence``-th trial."""

    sequence: int
    ended: bool = False
    error: str = ""
    crashed: bool = False


@dataclass(frozen=True)
class Session:
    """One start of rank 0: what follows a requeueing of its job is another one."""

    directory: Path
    host: str
    port: int

    @property
    def said(self) -> Path:
        return self.directory / "trial"

    def alive(self, rank: int) -> Path:
        return self.directory / f"rank{rank}.alive"

    def done(self, rank: int) -> Path:
        return self.directory / f"rank{rank}.done"


class Leader:
    """Rank 0's controller: ``controller`` itself, and the other ranks hear of it."""

    def __init__(self, controller: Controller, lead: Lead) -> None:
        self._controller = controller
        self._lead = lead
        self._given_up: Trial | None = None

    def ask(self, agent: str) -> Trial | None:
        trial = None if self._lead.lost() else self._controller.ask(agent)
        self._lead.open(trial)
        return trial

    def ready(self, agent: str) -> bool:
        return self._lead.settled() and self._controller.ready(agent)

    def wait_s(self, agent: str) -> float:
        return self._controller.wait_s(agent)

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        return self._controller.report(trial, step, metrics)

    def check(self, trial: Trial) -> Decision:
        decision = self._controller.check(trial)
        if decision.stop or not (reason := self._lead.alone()):
            return decision
        self._lead.close()
        if self._lead.crashed():
            self._controller.crash(trial, reason)
        elif not self._controller.reassign_suspect(trial, reason):
            self._controller.complete(trial, Outcome.failed(reason))
        self._given_up = trial
        return Decision(stop=True, reason=reason)

    def owns(self, trial: Trial) -> bool:
        return trial is not self._given_up and self._controller.owns(trial)

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self._lead.close()
        if outcome.state == "failed":
            outcome = Outcome.failed(self._lead.because(outcome.reason))
        self._controller.complete(trial, outcome)

    def release(self, trial: Trial, reason: str) -> None:
        self._lead.close()
        self._controller.release(trial, reason)

    def crash(self, trial: Trial, reason: str) -> None:
        self._lead.close()
        self._controller.crash(trial, self._lead.because(reason))

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        self._lead.close()
        if self._lead.crashed(within_s=_CAUSE_S):  # then what rank 0 raises is that it cannot reach the other one
            self._controller.crash(trial, self._lead.because(reason))
            return True
        return self._controller.reassign_suspect(trial, self._lead.because(reason))

    def close(self) -> None:
        self._controller.close()


class Lead:
    """What rank 0 says to the other ranks of its job, and hears of them, by files below ``place``."""

    def __init__(self, place: Path, size: int, host: str = "127.0.0.1") -> None:
        session = Session(place / secrets.token_hex(4), host, free_port())
        session.directory.mkdir(parents=True)
        self.session = session
        self._others = range(1, size)
        self._said = _Said()
        self._unwell_since: float | None = None
        self._settled_by = 0.0
        self.failure = ""
        """Which rank died, if ``lost`` has found one."""
        _write(session.said, self._said)
        self._held = _hold(place / "leader", pickle.dumps(session))

    def open(self, trial: Trial | None) -> None:
        """Say that ``trial`` begins; None: that there are no more."""
        state: Literal["open", "over"] = "over" if trial is None else "open"
        self._unwell_since = None
        self._say(_Said(self._said.sequence + 1, state, trial))

    def close(self) -> None:
        """Say that the trial is over."""
        if self._said.state == "open":
            self._settled_by = time.monotonic() + _SETTLE_S
            self._say(_Said(self._said.sequence, "closed"))

    def end(self) -> None:
        """There are no more trials, and no rank 0."""
        if self._said.state != "over":
            self.open(None)
        os.close(self._held)

    def settled(self) -> bool:
        """Whether nobody is busy with the last trial any more: else two ranks might meet that run different ones."""
        if all(done is None or done.ended or not self._lives(rank) for rank, done in self._done().items()):
            return True
        if time.monotonic() > self._settled_by:
            raise RankLost(f"A rank of this job does not come to an end with a trial that was over {_SETTLE_S:g} s ago")
        return False

    def lost(self) -> str:
        """Which rank has died; empty: none."""
        for rank in self._others:
            if self._lives(rank) is False:
                self.failure = f"rank {rank} has died"
        return self.failure

    def alone(self) -> str:
        """Why rank 0 will wait for the others in vain; empty: it will not, as far as can be told."""
        if lost := self.lost():
            return lost
        reason = self._faults()
        if not reason or self._said.state != "open":
            return ""
        now = time.monotonic()
        self._unwell_since = self._unwell_since or now
        return reason if now - self._unwell_since > ENDING_S / 2 else ""  # it will fail by itself if it can

    def crashed(self, within_s: float = 0.0) -> bool:
        """Whether a rank's process has died, which is no failure of the trial's task."""
        until = time.monotonic() + within_s
        while True:
            done = self._done()
            if self.lost() or any(one and one.crashed for one in done.values()):
                return True
            if time.monotonic() >= until or all(one is None or one.ended for one in done.values()):
                return False
            time.sleep(POLL_S)

    def because(self, reason: str) -> str:
        """``reason``, and what else is known of why rank 0 failed."""
        others = self._faults() or self.lost()
        return f"{reason} ({others})" if others and reason not in others else reason

    def _faults(self) -> str:
        faults = [f"rank {rank}: {done.error}" for rank, done in self._done().items() if done and done.error]
        return "; ".join(faults)

    def _done(self) -> dict[int, _Done | None]:
        """What each other rank said of the last trial."""
        said = {rank: _read(self.session.done(rank)) for rank in self._others}
        return {rank: one if one and one.sequence == self._said.sequence else None for rank, one in said.items()}

    def _lives(self, rank: int) -> bool | None:
        return _is_held(self.session.alive(rank))

    def _say(self, said: _Said) -> None:
        self._said = said
        _write(self.session.said, said)


@contextmanager
def leading(place: Path, rank: Rank) -> Iterator[Lead]:
    """Be ``rank``, which is 0, for a ``with`` block; RankLost where it ended early since another one died."""
    lead = Lead(place, rank.size, find_host(rank))
    try:
        yield lead
        if lead.failure:
            raise RankLost(f"{lead.failure}, so this agent cannot go on")
    finally:
        lead.end()


class Follower:
    """Another rank's controller: gives out the trial that rank 0 runs. Reports to it are ignored."""

    def __init__(self, place: Path, rank: int, *, within_s: float = _JOIN_S) -> None:
        """Waits for rank 0, which starts as this process does; raises RankLost where it does not come."""
        self._leader = place / "leader"
        self._rank = rank
        self.session = self._join(within_s)
        self._mine: _Said = _Said()
        self._busy = False
        self._deadline: float | None = None
        self._since = time.monotonic()
        self._next_look, self._alive = 0.0, True
        self._held = _hold(self.session.alive(rank), b"")

    def _join(self, within_s: float) -> Session:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if _is_held(self._leader):  # else it is what an earlier start of the job has left
                session: Session = pickle.loads(self._leader.read_bytes())
                return session
            time.sleep(POLL_S)
        raise RankLost(f"Rank {self._rank} has waited {within_s:g} s for rank 0 of its job, in vain")

    def ready(self, agent: str) -> bool:
        if self._busy:
            self._end()
        if self._news() is not None or not self._leader_lives():
            return True
        if time.monotonic() - self._since > _IDLE_S:  # the sweep is paused, or its other agents do what is left
            time.sleep(_IDLE_POLL_S)
        return False

    def ask(self, agent: str) -> Trial | None:
        said = self._news()
        if said is None or said.trial is None:
            return None
        self._mine, self._busy, self._deadline = said, True, None
        _write(self.session.done(self._rank), _Done(said.sequence))
        # Rank 0 looks for that note after it has closed a trial: one of the two sees the other.
        if self._said() != said:
            self._end()
            return self._await_next(agent)
        return said.trial

    def _await_next(self, agent: str) -> Trial | None:
        while not self.ready(agent):
            time.sleep(POLL_S)
        return self.ask(agent)

    def wait_s(self, agent: str) -> float:
        return 0.0

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        return CONTINUE

    def check(self, trial: Trial) -> Decision:
        if not self._leader_lives():
            return Decision(stop=True, reason="rank 0 has died")
        if self._said() == self._mine:
            return CONTINUE
        now = time.monotonic()
        self._deadline = self._deadline or now + ENDING_S
        return Decision(stop=True, reason="it is over for rank 0") if now > self._deadline else CONTINUE

    def owns(self, trial: Trial) -> bool:
        return not self.check(trial).stop

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self._end(outcome.reason if outcome.state == "failed" else "")

    def release(self, trial: Trial, reason: str) -> None:
        self._end()

    def crash(self, trial: Trial, reason: str) -> None:
        self._end(reason, crashed=True)

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        return False

    def close(self) -> None:
        os.close(self._held)

    def _end(self, error: str = "", *, crashed: bool = False) -> None:
        self._busy, self._since = False, time.monotonic()
        _write(self.session.done(self._rank), _Done(self._mine.sequence, True, error, crashed))

    def _news(self) -> _Said | None:
        said = self._said()
        return said if said.sequence > self._mine.sequence and said.state != "closed" else None

    def _said(self) -> _Said:
        said: _Said | None = _read(self.session.said)
        return said or self._mine

    def _leader_lives(self) -> bool:
        if self._alive and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _ALIVE_S
            # A session of another name: it was requeued, while we were not.
            self._alive = bool(_is_held(self._leader)) and pickle.loads(self._leader.read_bytes()) == self.session
        return self._alive

    # -- as a process ---------------------------------------------------------------------------------------------

    @contextmanager
    def leaving_last(self) -> Iterator[None]:
        """Let signals end this process only after rank 0: some clusters end a job with its first task that ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        outer = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, *PREEMPTION_SIGNALS)}
        outer = {signum: handler for signum, handler in outer.items() if handler not in (None, signal.SIG_IGN)}
        for signum, handler in outer.items():
            signal.signal(signum, partial(self._leave, handler))
        try:
            yield
        finally:
            for signum, handler in outer.items():
                signal.signal(signum, handler)

    def _leave(self, outer: Any, number: int, frame: Any) -> None:
        until = time.monotonic() + _LEAVE_S
        while time.monotonic() < until and self._leader_lives():
            time.sleep(POLL_S)
        if callable(outer):
            outer(number, frame)
        else:
            signal.signal(number, outer)
            os.kill(os.getpid(), number)

    def end_with_leader(self) -> None:
        """End this process, from a thread beside it, where it runs trials itself and one of them outlives rank 0's."""

        def watch() -> None:
            while not (self._busy and self.check(self._mine.trial or _NONE).stop):
                time.sleep(_ALIVE_S)
            os._exit(1)

        threading.Thread(target=watch, name="wandbsweep-rank", daemon=True).start()


_NONE = Trial(-1, {})


@dataclass
class Rejoining:
    """Runs trials in this very process, each of which finds it as if no other had been distributed in it before."""

    run_job: Callable[[Trial], Any]
    _names: tuple[str, ...] = field(default=_RENDEZVOUS, repr=False)

    def __call__(self, trial: Trial) -> Any:
        with restore_variables(self._names):
            try:
                return self.run_job(trial)
            finally:
                _leave_group()


def _leave_group() -> None:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        try:
            distributed.destroy_process_group()
        except Exception as error:  # it may be broken: that is why the trial failed
            log.warning("The trial's process group: %s", error)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


# -- files -----------------------------------------------------------------------------------------------------------


def _write(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(pickle.dumps(value))
    temporary.replace(path)


def _read(path: Path) -> Any:
    """What was written there; None: nothing."""
    try:
        return pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _hold(path: Path, content: bytes) -> int:
    """Write a file that stays locked until this process ends, or closes the descriptor that is returned.

    A lock of the process, not of the descriptor: what it forks does not hold it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, content)
    temporary.replace(path)
    return descriptor


def _is_held(path: Path) -> bool | None:
    """Whether the process lives that holds ``path``; None: there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(descriptor)
