"""W&B's sweep controller: its servers decide what to try and what to stop, our agents run it.

What a promise of ``Controller`` means here:

- A trial is a run that W&B gave out. Numbers count from 0 in the order in which our agents got their runs; number,
  attempts and reasons stand in the sweep's directory (``hosted_log``), metrics at W&B.
- A stop is W&B's, and known within one heartbeat; the report after it says so.
- A released trial is given out again by W&B (``resume``), or by us where W&B does not; one whose process died, by us.
- How the search draws, seeds included, is W&B's: it gives several agents equal points of a grid at times.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wandbsweep.controllers.completion import Completion
from wandbsweep.controllers.hosted.agents import AgentPool, AgentSession
from wandbsweep.controllers.hosted.client import AgentCommand, SweepClient, complete_login, read_values
from wandbsweep.controllers.hosted.completion import ORDERS, has_vanished, why_over
from wandbsweep.controllers.hosted.decode import decode_params
from wandbsweep.controllers.hosted.log import HOSTED_LOG, Entry, TrialLog, is_dead
from wandbsweep.controllers.hosted.run_writer import LiveRun, MakeWriter
from wandbsweep.controllers.hosted.transport import BACKOFF, Transport
from wandbsweep.retry import Backoff
from wandbsweep.search.make import find_cap
from wandbsweep.settings import MAX_ATTEMPTS
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import HIDDEN
from wandbsweep.trial import CONTINUE, Decision, Outcome, State, Trial, TrialRecord, as_number, as_step, is_number
from wandbsweep.wandb_runs.auth import Login, read_login
from wandbsweep.wandb_runs.param_file import write_params
from wandbsweep.wandb_runs.sweep_run import SweepRun
from wandbsweep.wandb_runs.writer import RunWriter

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
_CLOSED = "this attempt is closed; another agent may have the trial"


class HostedController:
    """The controller of one W&B sweep; any number of them, on any machines, share one.

    ``directory``: the sweep's, shared by its agents; None: what W&B does not keep is forgotten with this object.
    ``make_writer``: who writes the runs of trials whose training does not; None: nobody.
    ``elsewhere``: whether the sweep was begun in another directory, and so has trials that are not known here.
    """

    def __init__(
        self,
        spec: SweepSpec,
        sweep_id: str,
        *,
        entity: str | None = None,
        project: str | None = None,
        login: Login | None = None,
        directory: Path | None = None,
        trial_log: TrialLog | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        backoff: Backoff = BACKOFF,
        max_attempts: int = MAX_ATTEMPTS,
        max_failures: int | None = None,
        make_writer: MakeWriter | None = RunWriter,
        elsewhere: bool = False,
    ) -> None:
        self.spec = spec
        self.sweep_id = sweep_id
        transport = Transport(login or read_login(entity=entity, project=project), backoff)
        transport.login = complete_login(transport)
        self.login = transport.login
        self._client = SweepClient(transport, sweep_id)
        self._agents = AgentPool(self._client, heartbeat_s=heartbeat_s)
        path = directory / HOSTED_LOG if directory else None
        self.log = trial_log or TrialLog(path, metric=spec.metric.name if spec.metric else None)
        self._files = directory / HIDDEN / "wandb" if directory else None
        self._max_attempts, self._max_failures = max_attempts, max_failures
        self._make_writer, self._elsewhere = make_writer, elsewhere
        self._live: dict[int, LiveRun] = {}
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """What ``wandb.Api().sweep`` and ``wandb agent`` call the sweep."""
        return f"{self.login.entity}/{self.login.project}/{self.sweep_id}"

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all, as far as the sweep file says; None as well where some are elsewhere."""
        if self._elsewhere:
            return None
        return find_cap(self.spec)

    def trials(self) -> list[TrialRecord]:
        """The trials that our agents ran; ``open_sweep("wandb:…")`` reads those of all agents from W&B."""
        return [entry.record(self.spec.goal) for entry in self.log.entries()]

    def state(self) -> str | None:
        """W&B's: RUNNING, PAUSED, FINISHED, CANCELED; None: the sweep was deleted."""
        return self._client.fetch_state()

    @property
    def command(self) -> str:
        """What somebody ordered at W&B: running, paused, stopped or cancelled; setting it orders it there."""
        return ORDERS.get(self.state() or "CANCELED", "running")

    @command.setter
    def command(self, command: str) -> None:
        self._client.set_state(next(state for state, name in ORDERS.items() if name == command))

    def completion(self) -> Completion | None:
        return why_over(self.state(), self.log.entries(), cap=self.cap, given_up=self._max_failures)

    def has_live_agents(self) -> bool:
        """Whether anybody runs a trial that our agents were given."""
        running = [entry for entry in self.log.entries() if entry.newest.state == "running"]
        return any(not has_vanished(self._client, entry) for entry in running)

    def close_orphans(self) -> None:
        """Close the trials whose processes vanished, since nobody will go on with them."""
        for entry in self.log.entries():
            if entry.newest.state == "running" and has_vanished(self._client, entry):
                self._end(entry.newest.key, entry, "crashed", "its process vanished")

    # -- giving out ---------------------------------------------------------------------------------------------

    def ready(self, agent: str) -> bool:
        return not self._client.is_paused()

    def wait_s(self, agent: str) -> float:
        return 0.0

    def ask(self, agent: str) -> Trial | None:
        """The next trial; waits while the sweep is paused, or while W&B cannot be reached.

        Raises WandbError when it could not be reached for as long as ``backoff`` says, or refuses us.
        """
        if (over := why_over("RUNNING", self.log.entries(), cap=None, given_up=self._max_failures)) is not None:
            log.warning("No more trials are asked for: %s.", over.reason)
            return None
        session = self._agents.acquire(agent)
        try:
            trial = self._lost(session) or self._given(session)
        except BaseException:
            self._agents.release(session)
            raise
        if trial is None:
            self._agents.release(session)
        return trial

    def _given(self, session: AgentSession) -> Trial | None:
        """What W&B gives; where it gives nothing, what our agents released and W&B did not give out again."""
        refused: set[str] = set()
        while True:
            command = self._agents.request_command(session, self._taken)
            if command is None:
                return self._lost(session, everywhere=True)
            entry = self._claim(command, session.name)
            if entry is not None:
                return self._open(session, entry, begun=command.type == "resume")
            if command.run_id in refused:  # W&B gives out again and again what somebody has
                self._agents.wait()
            refused.add(command.run_id)

    def _taken(self) -> set[str]:
        return {entry.run_id for entry in self.log.entries() if entry.newest.state != "queued"}

    def _claim(self, command: AgentCommand, agent: str) -> Entry | None:
        params = decode_params(self.spec.parameters, read_values(command.args))
        resumed = command.type == "resume"
        entry = self.log.claim(command.run_id, command.args, params, agent, resumed=resumed)
        if entry is None and resumed:  # W&B saw it preempted, and its agent could not say so
            known = self.log.find(command.run_id)
            if known is not None and known.newest.key not in self._live:
                return self.log.take_over(known, agent)
        return entry

    def _lost(self, session: AgentSession, *, everywhere: bool = False) -> Trial | None:
        """A trial of ours whose process died: W&B waits for minutes, and then gives it to nobody.

        ``everywhere``: also those of other machines, and those that were released and W&B did not give out again.
        """
        for entry in self.log.entries():
            attempt = entry.newest
            if attempt.state == "running" and attempt.key not in self._live:
                if not (has_vanished(self._client, entry) if everywhere else is_dead(attempt.process)):
                    continue
                if len(entry.attempts) >= self._max_attempts:
                    self._end(attempt.key, entry, "crashed", f"its process died; attempt {len(entry.attempts)}")
                    continue
            elif attempt.state != "queued" or not (attempt.ours or everywhere):
                continue
            if trial := self._again(session, entry):
                return trial
        return None

    def _again(self, session: AgentSession, entry: Entry) -> Trial | None:
        claimed = self.log.take_over(entry, session.name)
        return None if claimed is None else self._open(session, claimed)

    def _open(self, session: AgentSession, entry: Entry, *, begun: bool = False) -> Trial:
        """``begun``: whether somebody has written to the run before, here or elsewhere."""
        attempt = len(entry.attempts)
        assert self.login.entity is not None
        assert self.login.project is not None
        run = SweepRun(
            sweep_id=self.sweep_id,
            run_id=entry.run_id,
            entity=self.login.entity,
            project=self.login.project,
            args=entry.args,
            name=entry.run_id if self._elsewhere else f"{self.sweep_id}-{entry.number}",
            attempt=attempt,
            resumes=(attempt > 1 or begun) and self._client.can_resume(entry.run_id),
        )
        self._agents.start_run(session, entry.run_id)
        with self._lock:
            self._live[entry.newest.key] = LiveRun(run, self._client, self.log, entry, self._make_writer, self._files)
        trial = Trial(entry.number, entry.params, attempt=attempt, key=entry.newest.key)
        return replace(trial, environment=self.environment(trial))

    def environment(self, trial: Trial) -> dict[str, str]:
        """What ``trial``'s process needs so that its ``wandb.init()`` is this trial's run (``apply_environment``)."""
        live = self._live[trial.key]
        if self._files is None:
            self._files = Path(tempfile.mkdtemp(prefix="wandbsweep-"))
        path = self._files / f"config-{live.run.run_id}.yaml"
        write_params(path, live.run.args)
        return live.run.environment(path)

    # -- while it runs ------------------------------------------------------------------------------------------

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        step = as_step(step)
        numbers = {name: n for name, value in metrics.items() if (n := as_number(value)) is not None}
        if not self.log.report(trial.key, step, numbers):
            return Decision(stop=True, reason=_CLOSED)
        if (live := self._live.get(trial.key)) and numbers:
            live.report(step, numbers)
        return self._decision(trial)

    def check(self, trial: Trial) -> Decision:
        return self._decision(trial) if self.owns(trial) else Decision(stop=True, reason=_CLOSED)

    def owns(self, trial: Trial) -> bool:
        return self.log.of(trial.key) is not None

    def _decision(self, trial: Trial) -> Decision:
        live = self._live.get(trial.key)
        reason = self._agents.find_stop_reason(live.run.run_id) if live else ""
        return Decision(stop=True, reason=reason) if reason else CONTINUE

    # -- closing ------------------------------------------------------------------------------------------------

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        entry = self.log.of(trial.key)
        if entry is None:
            return
        returned = as_number(outcome.returned)
        value = entry.best(self.spec.goal)
        if value is None and is_number(returned):
            value = returned
        state, reason = outcome.state, outcome.reason
        metric = self.spec.metric
        if state == "finished" and metric and not entry.reports and returned is None:
            state, reason = "failed", _no_metric(metric.name, entry.metrics)
        if metric and not entry.reports and returned is not None and (live := self._live.get(trial.key)):
            live.report(0, {metric.name: returned})
        stopped = reason if state == "stopped" else ""
        self._finish(trial.key, 1 if state == "failed" else 0, stopped=stopped)
        self._end(trial.key, entry, state, reason, value)

    def release(self, trial: Trial, reason: str) -> None:
        entry = self.log.of(trial.key)
        if (decision := self._decision(trial)).stop:  # W&B's client, too, ends a process whose run is to stop
            self.complete(trial, Outcome.stopped(decision.reason))
        elif entry is not None:
            self._finish(trial.key, 1, preempted=True)
            self._end(trial.key, entry, "queued", reason)

    def crash(self, trial: Trial, reason: str) -> None:
        entry = self.log.of(trial.key)
        if entry is None:
            return
        attempts = len(entry.attempts)
        if attempts >= self._max_attempts:
            self._finish(trial.key, 1)
            self._end(trial.key, entry, "crashed", f"{reason}; attempt {attempts} of {self._max_attempts}")
        else:
            self._end(trial.key, entry, "queued", reason, ours=True)

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        return False

    def _end(
        self, key: int, entry: Entry, state: State, reason: str, value: float | None = None, *, ours: bool = False
    ) -> None:
        self.log.end(key, state, reason, value, ours=ours)
        with self._lock:
            self._live.pop(key, None)
        self._agents.end_run(entry.run_id)

    def _finish(self, key: int, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None:
        if live := self._live.get(key):
            live.finish(exit_code, stopped=stopped, preempted=preempted)

    def close(self) -> None:
        """Runs that were given to agents here and not begun are left to the sweep's other agents."""
        self._agents.close()
        for command in self._agents.take_backlog(self._taken):
            if entry := self._claim(command, ""):
                self.log.end(entry.newest.key, "queued", "its agent ended before it began", ours=True)


def _no_metric(name: str, seen: Mapping[str, float]) -> str:
    logged = ", ".join(sorted(seen)) if seen else "nothing"
    return f"the metric {name!r} was never reported and the task returned no number; reported: {logged}"
