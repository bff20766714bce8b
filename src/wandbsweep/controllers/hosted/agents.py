"""Our agents registered at W&B: the run and the commands of each, and the thread that sends their heartbeats."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from wandbsweep.controllers.hosted.client import AgentCommand, SweepClient
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.wandb_runs.environment import STOPPED_BY_WANDB

log = logging.getLogger(__name__)

_POLLS_BETWEEN_STATES = 6
"""After how many polls without a command to ask for the sweep's state, because W&B may never send another command."""
_MOST_REFUSALS = 3
"""How many refused heartbeats in a row mean that a sweep of unknown state is over."""
_LATE_CHECKS = 2
"""For how many further trials an agent checks whether a request without a reply took effect late."""
_RESERVED = "?"
"""The ``run_id`` of a session that is asking for its run."""


@dataclass(eq=False)
class AgentSession:
    """One agent registered at W&B; it runs one trial at a time."""

    name: str
    agent_id: str
    """Empty: W&B takes no more agents for this sweep."""
    run_id: str = ""
    """The run that it works on; empty: none."""
    backlog: deque[AgentCommand] = field(default_factory=deque)
    """Runs that it was given and has not started."""
    over: bool = False
    """Whether W&B has no more runs for it, or no longer knows it."""
    late_checks: int = 0
    """Greater than 0: a reply was lost, which may have held a run (see ``_LATE_CHECKS``)."""

    @property
    def active_run(self) -> str:
        """The run that heartbeats report; empty: none."""
        return "" if self.run_id == _RESERVED else self.run_id


class AgentPool:
    """The agent sessions of one controller.

    W&B gives a run to every agent whose heartbeat reports none. So an idle agent sends no heartbeat until a trial is
    asked for.
    """

    def __init__(self, client: SweepClient, *, heartbeat_s: float) -> None:
        self._client = client
        self._heartbeat_s = heartbeat_s
        self._sessions: list[AgentSession] = []
        self._stops: dict[str, str] = {}
        """run_id -> why the run is to stop."""
        self._lock = threading.Lock()
        self._closed = client.transport.closed
        self._thread: threading.Thread | None = None

    def acquire(self, name: str) -> AgentSession:
        """Return an idle session of the agent ``name``, reserved until ``release`` or ``end_run``."""
        with self._lock:
            idle = (s for s in self._sessions if s.name == name and not s.run_id and not s.over)
            if session := next(idle, None):
                session.run_id = _RESERVED
                return session
        agent_id = self._client.create_agent() or ""
        session = AgentSession(name, agent_id, run_id=_RESERVED, over=not agent_id)
        with self._lock:
            self._sessions.append(session)
        return session

    def release(self, session: AgentSession) -> None:
        session.run_id = ""

    def start_run(self, session: AgentSession, run_id: str) -> None:
        """From now on, heartbeats report that ``session`` works on ``run_id``."""
        with self._lock:
            self._stops.pop(run_id, None)
            session.run_id = run_id
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_heartbeats, name="wandb-heartbeat", daemon=True)
                self._thread.start()

    def end_run(self, run_id: str) -> None:
        with self._lock:
            for session in self._sessions:
                if session.run_id == run_id:
                    session.run_id = ""

    def find_stop_reason(self, run_id: str) -> str:
        """Return why W&B wants ``run_id`` stopped; empty: it does not."""
        with self._lock:
            return self._stops.get(run_id, "")

    def stop_run(self, run_id: str, reason: str) -> None:
        with self._lock:
            self._stops.setdefault(run_id, reason)

    def wait(self) -> None:
        """Wait for the time between two heartbeats."""
        self._closed.wait(self._heartbeat_s)

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def take_backlog(self, find_known: Callable[[], Collection[str]]) -> list[AgentCommand]:
        """Return, after ``close``, the runs that W&B gave to these agents and that they will never start."""
        found: list[AgentCommand] = []
        for session in self._sessions:
            if session.late_checks:
                with suppress(WandbError):  # tried once, since closing must not wait for a failing server
                    self._recover_lost_runs(session, find_known)
            found += session.backlog
            session.backlog.clear()
        return found

    # -- asking for a run ---------------------------------------------------------------------------------------

    def request_command(self, session: AgentSession, find_known: Callable[[], Collection[str]]) -> AgentCommand | None:
        """Ask W&B for the next run of ``session``; waits while the sweep is paused and while W&B fails.

        Args:
            session: An idle session.
            find_known: Returns the ids of the runs that agents already have.

        Returns:
            A command to run or resume a run; None: there is none for this agent.

        Raises:
            WandbError: W&B refuses the agent, or failed for as long as the transport's backoff allows.
        """
        transport = self._client.transport
        pauses = transport.backoff.pauses()
        polls = refusals = 0
        check_lost = session.late_checks > 0
        session.late_checks = max(0, session.late_checks - 1)
        while not self._closed.is_set():
            try:
                if check_lost:
                    self._recover_lost_runs(session, find_known)
                    check_lost = False
                if session.backlog:
                    return session.backlog.popleft()
                if session.over:
                    return None
                self._handle_commands(session, self._client.send_heartbeat(session.agent_id, ()))
            except WandbError as error:
                refusals += error.status == 400
                if self._means_over(error, refusals):
                    log.info("W&B has nothing more for this agent: %s", error)
                    session.over = True
                    return None
                if not error.is_transient and error.status != 400:
                    raise
                if not error.had_no_effect:
                    # The server may have given out a run, now or when the request arrives late.
                    check_lost, session.late_checks = True, _LATE_CHECKS
                transport.wait_to_retry(error, pauses)
                continue
            pauses = transport.backoff.pauses()
            if session.backlog or session.over:
                continue
            polls += 1
            if polls % _POLLS_BETWEEN_STATES == 0 and self._client.fetch_state() in (None, "FINISHED", "CANCELED"):
                session.over = True
                return None
            self._closed.wait(self._heartbeat_s)
        return None

    def _means_over(self, error: WandbError, refusals: int) -> bool:
        """Return whether ``error`` says that the sweep is deleted, or comes from a sweep that is over."""
        if error.status != 400:
            return error.status == 404
        state = self._client.fetch_state()
        return state in (None, "FINISHED", "CANCELED") or (state == "UNKNOWN" and refusals >= _MOST_REFUSALS)

    def _recover_lost_runs(self, session: AgentSession, find_known: Callable[[], Collection[str]]) -> None:
        """Add to the backlog the runs that W&B gave to ``session`` in a reply that never arrived.

        If the server does not say which agent has a pending run, several agents may find it here. The trial log then
        gives it to one of them.
        """
        if not session.agent_id:  # its sweep was deleted
            return
        known = {*find_known(), *(command.run_id for command in session.backlog)}
        for command in self._client.fetch_pending_runs(session.agent_id):
            if command.run_id not in known:
                log.warning("W&B gave out run %s in a reply that was lost; this agent takes it.", command.run_id)
                session.backlog.append(command)

    def _handle_commands(self, session: AgentSession, commands: list[AgentCommand]) -> None:
        for command in commands:
            if command.type in ("run", "resume"):
                session.backlog.append(command)
            elif command.type == "stop":
                self.stop_run(command.run_id, STOPPED_BY_WANDB)
            else:
                session.over = True
                if session.active_run:
                    self.stop_run(session.active_run, "W&B ended the sweep")

    # -- heartbeats ---------------------------------------------------------------------------------------------

    def _send_heartbeats(self) -> None:
        failing = False
        while not self._closed.wait(self._heartbeat_s):
            with self._lock:
                active = [session for session in self._sessions if session.active_run and session.agent_id]
            errors = [error for session in active if (error := self._send_heartbeat(session))]
            if errors and not failing:
                log.warning("%s; trials continue, and so do the attempts to reach it", errors[0])
            failing = bool(errors)
            pause = max((error.retry_after_s or 0.0 for error in errors), default=0.0)
            if pause > self._heartbeat_s:
                self._closed.wait(pause - self._heartbeat_s)

    def _send_heartbeat(self, session: AgentSession) -> WandbError | None:
        """Report the run of ``session`` as alive; return the error if W&B fails or refuses."""
        run_id, agent_id = session.active_run, session.agent_id
        if not run_id or not agent_id:
            return None
        try:
            commands = self._client.send_heartbeat(agent_id, [run_id])
        except WandbError as error:
            if error.status == 404:
                log.warning("The sweep was deleted at W&B; its running trials may finish. (%s)", error)
                session.over, session.agent_id = True, ""
                return None
            session.late_checks = session.late_checks or int(not error.had_no_effect)
            return error
        self._handle_commands(session, commands)
        return None
