"""The agents that we have registered at W&B: what each runs, what it is told, and the thread that says they live."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from wandbsweep.controllers.hosted.client import Command, SweepClient
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.wandb_runs.environment import STOPPED_BY_WANDB

log = logging.getLogger(__name__)

# After how many polls without a command one asks whether there will ever be one.
_POLLS_BETWEEN_STATES = 6
# How often in a row W&B refuses a heartbeat, and does not say how the sweep stands, before one takes it for over.
_REFUSALS = 3
# For how many more trials an agent looks whether a lost reply came into effect late.
_DOUBTS = 2


@dataclass(eq=False)
class Slot:
    """One agent at W&B, which runs one trial at a time."""

    name: str
    agent_id: str | None
    """None: W&B takes no more agents for this sweep."""
    run_id: str = ""
    """What it runs; empty: nothing."""
    backlog: deque[Command] = field(default_factory=deque)
    over: bool = False
    """Whether W&B said that there is nothing more for it, or knows it no longer."""
    doubts: int = 0
    """More than 0: a reply to it was lost, and may have held a run."""


class Desk:
    """Keeps W&B's view of our agents and theirs of W&B the same.

    W&B gives a run to any agent that says it runs nothing, so an idle one stays silent until somebody asks.
    """

    def __init__(self, client: SweepClient, *, heartbeat_s: float) -> None:
        self._client = client
        self._heartbeat_s = heartbeat_s
        self._slots: list[Slot] = []
        self._stops: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closed = client.wire.closed
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> Slot:
        """An agent for ``name`` that runs nothing; nobody else gets it before ``give_back`` or ``ended``."""
        with self._lock:
            idle = (s for s in self._slots if s.name == name and not s.run_id and not s.over)
            if slot := next(idle, None):
                slot.run_id = "?"
                return slot
        slot = Slot(name, self._client.create_agent(), run_id="?")
        slot.over = slot.agent_id is None
        with self._lock:
            self._slots.append(slot)
        return slot

    def give_back(self, slot: Slot) -> None:
        slot.run_id = ""

    def begun(self, slot: Slot, run_id: str) -> None:
        """``slot`` runs ``run_id`` from now on, and says so."""
        with self._lock:
            self._stops.pop(run_id, None)
            slot.run_id = run_id
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="wandb-heartbeat", daemon=True)
                self._thread.start()

    def ended(self, run_id: str) -> None:
        with self._lock:
            for slot in self._slots:
                if slot.run_id == run_id:
                    slot.run_id = ""

    def stop_reason(self, run_id: str) -> str:
        """Why W&B wants ``run_id`` stopped; empty: it does not."""
        with self._lock:
            return self._stops.get(run_id, "")

    def stop(self, run_id: str, reason: str) -> None:
        with self._lock:
            self._stops.setdefault(run_id, reason)

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def pause(self) -> None:
        self._closed.wait(self._heartbeat_s)

    def leftovers(self, known: Callable[[], Collection[str]]) -> list[Command]:
        """After ``close``: the runs that W&B gave to agents here which will never begin them."""
        found: list[Command] = []
        for slot in self._slots:
            if slot.doubts:
                with suppress(WandbError):  # one try: whoever closes does not wait for a server in trouble
                    self._owned(slot, known)
            found += slot.backlog
            slot.backlog.clear()
        return found

    # -- asking -------------------------------------------------------------------------------------------------

    def next_command(self, slot: Slot, known: Callable[[], Collection[str]]) -> Command | None:
        """The next run for ``slot``; waits while the sweep is paused. None: there is none for it.

        ``known()``: the runs that are somebody's already, by id.
        """
        pauses = self._client.wire.patience.pauses()
        polls = refusals = 0
        look = slot.doubts > 0
        slot.doubts = max(0, slot.doubts - 1)
        while not self._closed.is_set():
            try:
                if look:
                    self._owned(slot, known)
                    look = False
                if slot.backlog:
                    return slot.backlog.popleft()
                if slot.over or slot.agent_id is None:
                    return None
                self._take_in(slot, self._client.heartbeat(slot.agent_id, ()))
            except WandbError as error:
                refusals += error.status == 400
                if self._is_over(error, refusals):
                    log.info("W&B has nothing more for this agent: %s", error)
                    slot.over = True
                    return None
                if not error.transient and error.status != 400:
                    raise
                if not error.undone:
                    look, slot.doubts = True, _DOUBTS
                self._client.wire.back_off(error, pauses)
                continue
            pauses = self._client.wire.patience.pauses()
            if slot.backlog or slot.over:
                continue
            polls += 1
            if polls % _POLLS_BETWEEN_STATES == 0 and self._client.state() in (None, "FINISHED", "CANCELED"):
                slot.over = True
                return None
            self._closed.wait(self._heartbeat_s)
        return None

    def _is_over(self, error: WandbError, refusals: int) -> bool:
        """Whether the error says that the sweep is gone, or comes from one that is over."""
        if error.status != 400:
            return error.status == 404
        state = self._client.state()
        return state in (None, "FINISHED", "CANCELED") or (state == "UNKNOWN" and refusals >= _REFUSALS)

    def _owned(self, slot: Slot, known: Callable[[], Collection[str]]) -> None:
        """Take up the runs that W&B gave to ``slot`` in a reply that never arrived.

        Where the server does not tell whose a pending run is, it is taken from whoever does not have it in the log.
        """
        if slot.agent_id is None:
            return
        taken = {*known(), *(command.run_id for command in slot.backlog)}
        for run in self._client.pending_of(slot.agent_id):
            if run.run_id not in taken:
                log.warning("W&B gave out run %s in a reply that was lost; it is taken up.", run.run_id)
                slot.backlog.append(Command("run", run.run_id, run.args))

    def _take_in(self, slot: Slot, commands: list[Command]) -> None:
        for command in commands:
            if command.type in ("run", "resume"):
                slot.backlog.append(command)
            elif command.type == "stop":
                self.stop(command.run_id, STOPPED_BY_WANDB)
            else:
                slot.over = True
                if slot.run_id not in ("", "?"):
                    self.stop(slot.run_id, "W&B ended the sweep")

    # -- being alive --------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        silent = False
        while not self._closed.wait(self._heartbeat_s):
            with self._lock:
                live = [slot for slot in self._slots if slot.run_id not in ("", "?") and slot.agent_id]
            failed = [error for slot in live if (error := self._beat_one(slot))]
            if failed and not silent:
                log.warning("%s; the trials go on, and so do the attempts to reach it", failed[0])
            silent = bool(failed)
            pause = max((error.retry_after_s or 0.0 for error in failed), default=0.0)
            if pause > self._heartbeat_s:
                self._closed.wait(pause - self._heartbeat_s)

    def _beat_one(self, slot: Slot) -> WandbError | None:
        """Say that ``slot``'s run lives; the error where W&B may answer again later."""
        run_id, agent_id = slot.run_id, slot.agent_id
        if agent_id is None or run_id in ("", "?"):
            return None
        try:
            commands = self._client.heartbeat(agent_id, [run_id])
        except WandbError as error:
            if error.status == 404:
                log.warning("The sweep was deleted at W&B; its running trials may finish. (%s)", error)
                slot.over, slot.agent_id = True, None
                return None
            slot.doubts = slot.doubts or int(not error.undone)
            return error
        self._take_in(slot, commands)
        return None
