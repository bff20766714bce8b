"""The controller of the ranks above 0: it gives out the trial that rank 0 runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from wandbsweep.agent.ranks.channel import (
    ENDING_S,
    POLL_S,
    Ack,
    Announcement,
    RankLostError,
    RankSession,
    hold_file,
    is_held,
    read_pickle,
    write_pickle,
)
from wandbsweep.launchers import PREEMPTION_SIGNALS
from wandbsweep.trial import CONTINUE, Decision, Outcome, Trial

_JOIN_S = 600.0  # a job's tasks start together, but their first imports may come from a slow file system
_OUTLIVE_S = 20.0  # below SLURM's KillWait of 30
_ALIVE_S = 1.0  # how often rank 0's lock is tried
_IDLE_S, _IDLE_POLL_S = 10.0, 0.2  # without a trial this long, a rank polls less often


class Follower:
    """Gives out the trial that rank 0 runs, and acknowledges its end to rank 0. Ignores reports."""

    def __init__(
        self,
        place: Path,
        rank: int,
        *,
        within_s: float = _JOIN_S,
        ending_s: float = ENDING_S,
        alive_s: float = _ALIVE_S,
    ) -> None:
        """Wait for rank 0, which starts when this process does.

        Args:
            place: The directory of the agent's ranks.
            rank: Which rank this process is.
            within_s: How long to wait.
            ending_s: How long this rank may continue a trial that is over for rank 0.
            alive_s: How often to check that rank 0 lives.

        Raises:
            RankLostError: Rank 0 does not appear in time.
        """
        self._leader = place / "leader"
        self._rank = rank
        self._ending_s, self._alive_s = ending_s, alive_s
        self.session = self._join(within_s)
        self._current = Announcement()
        self._busy = False
        self._deadline: float | None = None
        self._idle_since = time.monotonic()
        self._next_look, self._leader_lives = 0.0, True
        self._lock = hold_file(self.session.alive(rank), b"")

    def _join(self, within_s: float) -> RankSession:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if is_held(self._leader):  # if it is not locked, it is left from an earlier start of the job
                session: RankSession = read_pickle(self._leader)
                return session
            time.sleep(POLL_S)
        raise RankLostError(f"Rank {self._rank} has waited {within_s:g} s for rank 0 of its job, which did not start")

    def ready(self, agent: str) -> bool:
        if self._busy:
            self._acknowledge_end()
        if self._read_next() is not None or not self._is_leader_alive():
            return True
        if time.monotonic() - self._idle_since > _IDLE_S:  # the sweep is paused, or other agents run the last trials
            time.sleep(_IDLE_POLL_S)
        return False

    def ask(self, agent: str) -> Trial | None:
        while True:
            announced = self._read_next()
            if announced is None or announced.trial is None:
                return None
            self._current, self._busy, self._deadline = announced, True, None
            # Acknowledge first, then read again. Rank 0 closes a trial first and then reads the acknowledgements. So
            # either this rank sees that the trial is closed, or rank 0 sees that this rank runs it, and waits.
            write_pickle(self.session.ack(self._rank), Ack(announced.sequence))
            if self._read() == announced:
                return announced.trial
            self._acknowledge_end()
            while not self.ready(agent):
                time.sleep(POLL_S)

    def wait_s(self, agent: str) -> float:
        return 0.0

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        return CONTINUE

    def check(self, trial: Trial) -> Decision:
        return self._decide()

    def owns(self, trial: Trial) -> bool:
        return not self._decide().stop

    def note_work(self, trial: Trial, seconds: float) -> None:
        pass

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self._acknowledge_end(outcome.reason if outcome.state == "failed" else "")

    def release(self, trial: Trial, reason: str) -> None:
        self._acknowledge_end()

    def crash(self, trial: Trial, reason: str, *, killed: bool = False) -> None:
        self._acknowledge_end(reason, crashed=True)

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        return False

    def close(self) -> None:
        os.close(self._lock)

    def _decide(self) -> Decision:
        """Stop the trial when rank 0 has died, or some time after it is over for rank 0.

        Until then this rank may still end as rank 0 did, by the same stop or error, which its log then shows.
        """
        if not self._is_leader_alive():
            return Decision(stop=True, reason="rank 0 has died")
        if self._read() == self._current:
            return CONTINUE
        now = time.monotonic()
        self._deadline = self._deadline or now + self._ending_s
        return Decision(stop=True, reason="the trial is over for rank 0") if now > self._deadline else CONTINUE

    def _acknowledge_end(self, error: str = "", *, crashed: bool = False) -> None:
        self._busy, self._idle_since = False, time.monotonic()
        write_pickle(self.session.ack(self._rank), Ack(self._current.sequence, True, error, crashed))

    def _read_next(self) -> Announcement | None:
        """Return what rank 0 announces after the current trial; None: nothing yet."""
        announced = self._read()
        return announced if announced.sequence > self._current.sequence and announced.state != "closed" else None

    def _read(self) -> Announcement:
        announced: Announcement | None = read_pickle(self.session.announcement)
        return announced or self._current

    def _is_leader_alive(self) -> bool:
        if self._leader_lives and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + self._alive_s
            # If the session has another name, rank 0 was requeued, and this process was not.
            self._leader_lives = bool(is_held(self._leader)) and read_pickle(self._leader) == self.session
        return self._leader_lives

    # -- as a process ---------------------------------------------------------------------------------------------

    @contextmanager
    def outlive_leader(self) -> Iterator[None]:
        """Let signals end this process only after rank 0: some clusters end a job when its first task ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, *PREEMPTION_SIGNALS)}
        handlers = {signum: handler for signum, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
        for signum, handler in handlers.items():
            signal.signal(signum, partial(self._handle_signal, handler))
        try:
            yield
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)

    def _handle_signal(self, outer: Any, number: int, frame: Any) -> None:
        until = time.monotonic() + _OUTLIVE_S
        while time.monotonic() < until and self._is_leader_alive():
            time.sleep(POLL_S)
        if callable(outer):
            outer(number, frame)
        else:
            signal.signal(number, outer)
            os.kill(os.getpid(), number)

    def end_with_leader(self) -> None:
        """End this process, from a thread, if it runs trials itself and one of them outlives rank 0's."""

        def watch() -> None:
            while not (self._busy and self._decide().stop):
                time.sleep(self._alive_s)
            os._exit(1)

        threading.Thread(target=watch, name="wandbsweep-rank", daemon=True).start()
