"""W&B's sweep controller: its servers decide what to try and what to stop, and our agents run it.

How it implements ``Controller``:

- A trial is a run that W&B gave out. Numbers count from 0 in the order in which our agents got their runs. Numbers,
  attempts and reasons are in the sweep's directory (``HostedLog``), metrics at W&B.
- W&B decides which runs stop. A stop arrives with the next heartbeat, and the next report returns it.
- W&B gives out a released trial again (``resume``); if it does not, our agents take it. They also take a trial whose
  process died.
- W&B draws the parameters, with its own seeds. It sometimes gives the same point of a grid to several agents.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wandbsweep.controllers.bad_nodes import compute_wait_s, describe_bad_nodes, find_bad_node, is_suspect
from wandbsweep.controllers.base import ATTEMPT_CLOSED
from wandbsweep.controllers.completion import Completion, find_completion
from wandbsweep.controllers.hosted.agents import AgentPool, AgentSession
from wandbsweep.controllers.hosted.client import AgentCommand, SweepClient, connect, read_values
from wandbsweep.controllers.hosted.decode import decode_params
from wandbsweep.controllers.hosted.log import HOSTED_LOG, HostedLog, is_requeued_by_us, read_run
from wandbsweep.controllers.hosted.processes import has_vanished, is_dead
from wandbsweep.controllers.hosted.run_writer import LiveRun, MakeWriter
from wandbsweep.controllers.hosted.transport import BACKOFF
from wandbsweep.controllers.outcome import StoredOutcome, compute_loss, compute_outcome
from wandbsweep.controllers.trial_entry import METRICS, TrialEntry
from wandbsweep.retry import Backoff
from wandbsweep.search.make import find_cap
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import HIDDEN, ControllerOptions
from wandbsweep.sweep.report_log import append_report
from wandbsweep.trial import CONTINUE, Decision, Outcome, Trial, TrialRecord, as_number, as_step
from wandbsweep.wandb_runs.auth import Login, read_login
from wandbsweep.wandb_runs.sweep_run import SweepRun
from wandbsweep.wandb_runs.writer import RunWriter

HEARTBEAT_S = 5.0

_COMMANDS = {"RUNNING": "running", "PAUSED": "paused", "FINISHED": "stopped", "CANCELED": "cancelled"}
"""W&B's states of a sweep, and the commands that lead to them."""
_COMPLETIONS = {
    None: Completion("the sweep was deleted at W&B"),
    "FINISHED": Completion("the sweep is finished at W&B"),
    "CANCELED": Completion("the sweep was cancelled at W&B"),
}
"""By W&B's state of the sweep; None: there is no such sweep."""

log = logging.getLogger(__name__)


class HostedController:
    """The controller of one W&B sweep. Any number of them, on any machines, share one.

    Args:
        spec: The sweep configuration.
        sweep_id: W&B's id of the sweep.
        login: The W&B account. None: the one that wandb's client would use.
        directory: The sweep's directory, shared by its agents. None: what W&B does not keep is kept in memory.
        heartbeat_s: Seconds between two heartbeats of an agent.
        backoff: How long to wait for W&B.
        options: What the sweep was started with; None: the defaults.
        make_writer: Makes the writer of the runs of trials whose training does not use wandb. None: none is written.
        elsewhere: Whether the sweep was started in another directory, so that it has trials that are not known here.
    """

    def __init__(
        self,
        spec: SweepSpec,
        sweep_id: str,
        *,
        login: Login | None = None,
        directory: Path | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        backoff: Backoff = BACKOFF,
        options: ControllerOptions | None = None,
        make_writer: MakeWriter | None = RunWriter,
        elsewhere: bool = False,
    ) -> None:
        self.spec = spec
        self.sweep_id = sweep_id
        transport = connect(login or read_login(), backoff)
        self.login = transport.login
        self._client = SweepClient(transport, sweep_id)
        self._agents = AgentPool(self._client, heartbeat_s=heartbeat_s)
        self._directory = directory
        self.log = HostedLog(directory / HOSTED_LOG if directory else None, spec)
        self._files = directory / HIDDEN / "wandb" if directory else Path(tempfile.mkdtemp(prefix="wandbsweep-"))
        self._is_temporary = directory is None
        self._options = options or ControllerOptions()
        self._make_writer, self._elsewhere = make_writer, elsewhere
        self.cap = None if elsewhere else find_cap(spec)
        """How many trials there can be in all, by the sweep file; None also if some are in another directory."""
        self._live: dict[int, LiveRun] = {}
        """By key: the attempts that this controller gave out, and that are open."""
        self._worked_s: dict[int, float] = {}
        """By key: how long the task of an attempt ran, once that is known."""
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """What ``wandb.Api().sweep`` and ``wandb agent`` call the sweep."""
        return f"{self.login.entity}/{self.login.project}/{self.sweep_id}"

    def trials(self) -> list[TrialRecord]:
        """Return the trials that our agents ran. ``open_sweep("wandb:…")`` reads those of all agents from W&B."""
        return self.log.records()

    def state(self) -> str | None:
        """Return W&B's state of the sweep: RUNNING, PAUSED, FINISHED, CANCELED; None: the sweep was deleted."""
        return self._client.fetch_state()

    @property
    def command(self) -> str:
        """The command that W&B's state of the sweep means. Setting it gives the command at W&B."""
        return _COMMANDS.get(self.state() or "CANCELED", "running")

    @command.setter
    def command(self, command: str) -> None:
        self._client.set_state(next(state for state, name in _COMMANDS.items() if name == command))

    def completion(self) -> Completion | None:
        return self._find_completion(called_off=_COMPLETIONS.get(self.state()), cap=self.cap)

    def _find_completion(self, *, called_off: Completion | None = None, cap: int | None = None) -> Completion | None:
        with self.log.reading() as table:
            return find_completion(
                table,
                self.spec,
                called_off=called_off,
                max_failures=self._options.max_failures,
                forgiven=self.log.forgiven,
                cap=cap,
            )

    def describe_bad_nodes(self) -> list[str]:
        with self.log.reading() as table:
            return describe_bad_nodes(table, forgiven=self.log.forgiven)

    def forgive_failures(self) -> None:
        self.log.forgive_failures()

    def has_live_agents(self) -> bool:
        return any(not self._has_vanished(entry) for entry in self.log.entries() if entry.state == "running")

    def close_orphans(self) -> None:
        for entry in self.log.entries():
            if entry.state == "running" and self._has_vanished(entry):
                self._close(entry, self._compute_loss(entry, "its process vanished", final=True))

    def _has_vanished(self, entry: TrialEntry) -> bool:
        return has_vanished(entry.owner or "", lambda: self._client.fetch_run_state(read_run(entry).run_id))

    # -- giving out ---------------------------------------------------------------------------------------------

    def ready(self, agent: str) -> bool:
        return not self._client.is_paused()

    def wait_s(self, agent: str) -> float:
        with self.log.reading() as table:
            return compute_wait_s(table, agent, forgiven=self.log.forgiven)

    def ask(self, agent: str) -> Trial | None:
        """Return the next trial. The call waits while the sweep is paused, or while W&B cannot be reached.

        Raises WandbError if W&B refuses the request, or cannot be reached for as long as ``backoff`` allows.
        """
        # W&B checks its own state and cap, and tells the agent. Only failures, which it does not count, are for us.
        if (completion := self._find_completion() or self._find_bad_node(agent)) is not None:
            log.warning("No more trials are asked for: %s.", completion.reason)
            return None
        session = self._agents.acquire(agent)
        try:
            trial = self._take_over_lost(session) or self._take_given(session)
        except BaseException:
            self._agents.release(session)
            raise
        if trial is None:
            self._agents.release(session)
        return trial

    def _find_bad_node(self, agent: str) -> Completion | None:
        with self.log.reading() as table:
            return find_bad_node(table, agent, forgiven=self.log.forgiven)

    def _take_given(self, session: AgentSession) -> Trial | None:
        """Return what W&B gives out; if nothing, a released trial that W&B did not give out again."""
        refused: set[str] = set()
        while True:
            command = self._agents.request_command(session, self._find_taken_runs)
            if command is None:
                return self._take_over_lost(session, everywhere=True)
            entry = self._claim(command, session.name)
            if entry is not None:
                return self._start(session, entry, begun=command.type == "resume")
            if command.run_id in refused:  # W&B repeatedly gives out a run that another agent has
                self._agents.wait()
            refused.add(command.run_id)

    def _find_taken_runs(self) -> set[str]:
        return {read_run(entry).run_id for entry in self.log.entries() if entry.state != "queued"}

    def _claim(self, command: AgentCommand, agent: str) -> TrialEntry | None:
        params = decode_params(self.spec.parameters, read_values(command.args))
        resumed = command.type == "resume"
        entry = self.log.claim(command.run_id, command.args, params, agent, resumed=resumed)
        if entry is None and resumed:  # W&B saw that the run was preempted, and its agent could not record it
            known = self.log.find(command.run_id)
            if known is not None and (newest := known.newest).key not in self._live:
                return self.log.take_over(newest, agent)
        return entry

    def _take_over_lost(self, session: AgentSession, *, everywhere: bool = False) -> Trial | None:
        """Take over a trial whose process died, which W&B notices only after minutes and then gives to no agent.

        Args:
            session: The agent.
            everywhere: Whether to take over trials of other machines too, and trials that were released and that W&B
                did not give out again.
        """
        with self.log.reading() as table:
            failed_here = set(table.suspects.get(session.name, ()))
        for entry in self.log.entries():
            newest = entry.newest  # read before the checks: another process may take over in the meantime
            if entry.state == "running" and newest.key not in self._live:
                if not (self._has_vanished(entry) if everywhere else is_dead(entry.owner or "")):
                    continue
                loss = self._compute_loss(entry, "its process died")
                if loss.state == "crashed":
                    self._close(entry, loss)
                    continue
            elif entry.number in failed_here or not (
                is_requeued_by_us(entry) or (everywhere and entry.state == "queued")
            ):
                continue
            if claimed := self.log.take_over(newest, session.name):
                return self._start(session, claimed)
        return None

    def _start(self, session: AgentSession, entry: TrialEntry, *, begun: bool = False) -> Trial:
        """Return the trial for an attempt that was claimed.

        Args:
            session: The agent that runs it.
            entry: The trial, whose newest attempt this is.
            begun: Whether a process, here or elsewhere, has written to the run.
        """
        run, key, attempt = read_run(entry), entry.newest.key, entry.attempts
        sweep_run = SweepRun(
            sweep_id=self.sweep_id,
            run_id=run.run_id,
            entity=self.login.entity,
            project=self.login.project,
            args=run.args,
            name=run.run_id if self._elsewhere else f"{self.sweep_id}-{entry.number}",
            attempt=attempt,
            resumes=(attempt > 1 or begun) and self._client.can_resume(run.run_id),
        )
        self._agents.start_run(session, run.run_id)
        with self._lock:
            self._live[key] = LiveRun(sweep_run, self._client, self.log, entry, key, self._make_writer, self._files)
        environment = sweep_run.prepare(self._files / f"config-{run.run_id}.yaml")
        return Trial(entry.number, entry.params, attempt=attempt, key=key, environment=environment)

    # -- while it runs ------------------------------------------------------------------------------------------

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        step = as_step(step)
        numbers = {name: n for name, value in metrics.items() if (n := as_number(value)) is not None}
        if not self.log.report(trial.key, step, numbers):
            return Decision(stop=True, reason=ATTEMPT_CLOSED)
        append_report(self._directory, trial.number, step, numbers)
        if (live := self._live.get(trial.key)) and numbers:
            live.report(step, numbers)
        return self._read_decision(trial)

    def check(self, trial: Trial) -> Decision:
        return self._read_decision(trial) if self.owns(trial) else Decision(stop=True, reason=ATTEMPT_CLOSED)

    def owns(self, trial: Trial) -> bool:
        return self.log.find_open(trial.key) is not None

    def _read_decision(self, trial: Trial) -> Decision:
        live = self._live.get(trial.key)
        reason = self._agents.find_stop_reason(live.run.run_id) if live else ""
        return Decision(stop=True, reason=reason) if reason else CONTINUE

    # -- closing ------------------------------------------------------------------------------------------------

    def note_work(self, trial: Trial, seconds: float) -> None:
        self._worked_s[trial.key] = seconds

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        entry = self.log.find_open(trial.key)
        if entry is None:
            return
        reports = entry.newest.reports
        if outcome.metrics:
            self.log.report(trial.key, max(reports, default=0), outcome.metrics)
        metrics = entry.newest.attributes[METRICS]
        stored = compute_outcome(self.spec, outcome, reports=reports, metrics=metrics)
        metric, returned = self.spec.metric, as_number(outcome.returned)
        if metric and not reports and returned is not None and (live := self._live.get(trial.key)):
            live.report(0, {metric.name: returned})
        self._close(entry, stored)

    def release(self, trial: Trial, reason: str) -> None:
        entry = self.log.find_open(trial.key)
        if (decision := self._read_decision(trial)).stop:  # W&B's client also ends the process of a run that is to stop
            self.complete(trial, Outcome.stopped(decision.reason))
        elif entry is not None:
            self._close(entry, StoredOutcome("queued", reason))

    def crash(self, trial: Trial, reason: str, *, killed: bool = False) -> None:
        if entry := self.log.find_open(trial.key):
            loss = self._compute_loss(entry, reason, killed=killed)
            suspect = loss.state == "queued" and not killed and self._is_suspect(entry)
            self._close(entry, replace(loss, suspect=suspect))

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        entry = self.log.find_open(trial.key)
        if entry is None or not self._is_suspect(entry):
            return False
        self._close(entry, StoredOutcome("queued", reason, suspect=True))
        return True

    def _is_suspect(self, entry: TrialEntry) -> bool:
        with self.log.reading() as table:
            return is_suspect(table, entry, forgiven=self.log.forgiven)

    def _compute_loss(
        self, entry: TrialEntry, reason: str, *, killed: bool = True, final: bool = False
    ) -> StoredOutcome:
        lost = len(entry.lost | {entry.attempts})
        reports, limit = entry.newest.reports, self._options.max_attempts
        return compute_loss(
            self.spec, reason, lost=lost, max_attempts=limit, reports=reports, killed=killed, final=final
        )

    def _close(self, entry: TrialEntry, outcome: StoredOutcome) -> None:
        """Close the newest attempt of ``entry``, and end its run unless the next attempt continues it.

        W&B knows of runs that were given back, but not of lost ones, nor of those that another agent is to try.
        """
        key = entry.newest.key
        outcome = replace(outcome, worked_s=self._worked_s.pop(key, None))
        ours = outcome.state == "queued" and (outcome.lost or outcome.suspect)
        if not ours and (live := self._live.get(key)):
            live.finish(outcome)
        self.log.close(key, outcome, ours=ours)
        with self._lock:
            self._live.pop(key, None)
        self._agents.end_run(read_run(entry).run_id)

    def close(self) -> None:
        """Stop the heartbeats. Runs that these agents were given and have not begun are left to other agents."""
        self._agents.close()
        for command in self._agents.take_backlog(self._find_taken_runs):
            if entry := self._claim(command, ""):
                outcome = StoredOutcome("queued", "its agent ended before it began")
                self.log.close(entry.newest.key, outcome, ours=True)
        if self._is_temporary:
            shutil.rmtree(self._files, ignore_errors=True)
