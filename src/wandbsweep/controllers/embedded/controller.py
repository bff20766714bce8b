"""The embedded controller: a study in a storage that all agents share, without a server."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from wandbsweep.controllers.bad_nodes import compute_wait_s, describe_bad_nodes, find_bad_node, is_suspect
from wandbsweep.controllers.base import ATTEMPT_CLOSED
from wandbsweep.controllers.completion import Completion, describe_command, find_completion
from wandbsweep.controllers.embedded.claims import Claims
from wandbsweep.controllers.embedded.closing import Closer
from wandbsweep.controllers.embedded.lease_expiry import LeaseManager
from wandbsweep.controllers.embedded.proposals import Proposals
from wandbsweep.controllers.embedded.stopping_rules import make_stopping_rule
from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.embedded.thawing import Thaws
from wandbsweep.controllers.trial_entry import TrialEntry
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepConfigError
from wandbsweep.search.make import make_search
from wandbsweep.spec.methods import METHODS
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import AttemptClosedError, Storage
from wandbsweep.storage.json_codec import decode_json, encode_json
from wandbsweep.sweep.launch_record import ControllerOptions
from wandbsweep.sweep.report_log import append_report
from wandbsweep.trial import CONTINUE, FAILED, Decision, Outcome, Trial, TrialRecord, as_number, as_step

_WAIT_S = 0.25
"""How long an agent that has to wait sleeps before it checks again."""

log = logging.getLogger(__name__)


class EmbeddedController:
    """Gives out, stops and closes the trials of one study. Any number of controllers share a study.

    Everything is derived from the storage. Between two calls a controller remembers only the last metrics of its own
    open attempts, so an agent may join and leave at any time. Unless the storage is in memory, the controller renews a
    lease until it is closed.
    """

    def __init__(
        self,
        spec: SweepSpec,
        storage: Storage,
        *,
        study_name: str,
        options: ControllerOptions | None = None,
        directory: Path | None = None,
    ) -> None:
        """Open the study, or create it.

        Args:
            spec: The sweep configuration.
            storage: The storage that keeps the study.
            study_name: The name of the study, which is created if there is none.
            options: What the sweep was started with; None: the defaults.
            directory: The sweep's directory: its path is stored in a new study in a database, and all that trials
                report in its files.

        Raises:
            SweepConfigError: The method needs W&B's servers.
            SweepDirectoryError: The study was not created by wandbsweep.
        """
        _refuse_external_method(spec)
        self.spec = spec
        self._storage = storage
        self._directory = directory
        self._study = study = Study(storage, study_name, spec, options or ControllerOptions(), directory)
        self._options, self.seed, self.identity = study.options, study.seed, study.identity
        search = make_search(spec, seed=study.seed, plain_grid=self._options.plain_grid, known=study.known)
        self._stopping_rule = make_stopping_rule(study)
        self._thaws = Thaws(study)
        self._proposals = Proposals(study, search)
        self._closer = Closer(study)
        self._leases = LeaseManager(study, self._closer)
        self._claims = Claims(study, self._proposals, self._leases, self._closer, self.cap)
        self._asking = threading.Lock()
        self._waited_until = -math.inf
        """When an agent of this process last had to wait for a trial (monotonic)."""

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no limit."""
        return min((n for n in (self.spec.run_cap, self._proposals.search.size) if n is not None), default=None)

    def trials(self) -> list[TrialRecord]:
        with self._study.refresh() as table:
            return table.records()

    # -- asking -------------------------------------------------------------------------------------------------

    def ask(self, agent: str | None = None) -> Trial | None:
        """Return the next trial for ``agent`` to run; None: there are no more for it.

        Args:
            agent: Who runs the trial: a trial that fails is given to another one if others do well. None: this process.
        """
        agent = agent if agent is not None else f"{socket.gethostname()}-{os.getpid()}"
        with self._storage.connected():
            asked_at = time.monotonic()
            with self._asking:  # one thread at a time, since two would only compete for the same numbers
                trial = self._claim_next(agent)
            if trial is None or trial.params:
                return trial
            return self._propose(trial, max(asked_at, self._waited_until))

    def _claim_next(self, agent: str) -> Trial | None:
        """Claim the next trial; None: there are no more. Its parameters are empty if they are still to be proposed.

        The call waits while the sweep is paused, and while other agents' trials may be lost.
        """
        is_final = False
        while True:
            if self._study.read_recent_command() == "paused":
                self._wait()
                continue
            unfinished, completion = self._find_unfinished(agent)
            if completion is not None:
                if is_final:
                    self._say_if_bad_node(agent)
                    return None
                is_final = self.ready(agent)  # and check once more, because this call may have found a lost trial
                if not is_final:
                    self._wait()
                continue
            is_lost = unfinished is not None and unfinished.state == "running"
            if unfinished and is_lost and len(unfinished.lost) + 1 >= self._options.max_attempts:
                self._leases.close_expired(unfinished, final=True)
                continue
            trial = self._claims.continue_trial(agent, unfinished) if unfinished else self._claims.open_new(agent)
            if trial is not None:  # otherwise another agent was faster
                return trial

    def _find_unfinished(self, agent: str) -> tuple[TrialEntry | None, Completion | None]:
        """Return a trial for ``agent`` to continue, or why it gets no trial at all. If neither, it gets a new one."""
        with self._study.refresh() as table:
            entry = table.find_queued(agent) or self._leases.find_expired(table)
            completion = self._find_completion(table, agent, entry)
            if completion is not None and completion.exhausted:
                entry = self._claims.find_uncommitted(table)
                completion = None if entry else completion
            unfinished = entry.snapshot() if entry else None
        if unfinished is None and (frozen := self._choose_frozen(completion)):
            return frozen, None
        return unfinished, completion

    def _choose_frozen(self, completion: Completion | None) -> TrialEntry | None:
        """Return a frozen trial to continue. ``completion``: why no trial would be given out without it, if any."""
        if completion is not None and not completion.exhausted:
            return None
        return self._thaws.choose(may_start=completion is None)

    def _find_completion(
        self, table: TrialTable, agent: str | None, unfinished: TrialEntry | None
    ) -> Completion | None:
        """Return why ``agent`` gets no trial. ``unfinished``: a trial that it could continue."""
        completion = find_completion(
            table,
            self.spec,
            called_off=describe_command(self._study.command),
            max_failures=self._options.max_failures,
            forgiven=self._study.forgiven,
            cap=self.cap,
            agent=agent,
        )
        if completion is not None and not completion.exhausted:
            return completion
        bad_node = find_bad_node(table, agent, forgiven=self._study.forgiven) if agent is not None else None
        return bad_node or (None if unfinished else completion)

    def _say_if_bad_node(self, agent: str) -> None:
        with self._study.refresh() as table:
            bad_node = find_bad_node(table, agent, forgiven=self._study.forgiven)
        if bad_node is not None:
            log.warning("No more trials are asked for: %s.", bad_node.reason)

    def _wait(self) -> None:
        self._storage.release_connection()
        time.sleep(_WAIT_S)
        self._waited_until = time.monotonic()

    def _propose(self, trial: Trial, asked_at: float) -> Trial:
        try:
            params = self._proposals.propose(trial.key, trial.number, asked_at)
        except BaseException as error:  # Ctrl-C too: another agent is to propose instead of waiting for this one
            self._closer.release(trial.key, f"no parameters were chosen ({type(error).__name__})")
            raise
        return replace(trial, params=decode_json(encode_json(params)))  # as every other process will read them

    def ready(self, agent: str) -> bool:
        """Whether ``ask`` answers at once.

        It waits if the sweep is paused. It also waits if only trials of other agents are left and it is not known yet
        whether these agents live: if they do not, this agent has to take their trials over.
        """
        with self._storage.connected():
            if self._study.read_command() == "paused":
                return False
            with self._study.refresh() as table:
                completion = self._find_completion(table, agent, self._leases.find_expired(table))
            if completion is None or not completion.exhausted or self._choose_frozen(completion):
                return True
            return self.has_live_agents() is not None

    def wait_s(self, agent: str) -> float:
        with self._study.refresh() as table:
            return compute_wait_s(table, agent, forgiven=self._study.forgiven)

    # -- while a trial runs -------------------------------------------------------------------------------------

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        step = as_step(step)
        numbers = {name: n for name, value in metrics.items() if (n := as_number(value)) is not None}
        value = numbers.get(self.spec.metric.name) if self.spec.metric else None
        with self._storage.connected():
            if (decision := self.check(trial)).stop:
                return decision
            if value is not None:
                try:
                    self._storage.report(trial.key, step, value)
                except AttemptClosedError:
                    return Decision(stop=True, reason=ATTEMPT_CLOSED)
            elif trial.key not in self._closer.metrics and self._storage.read_attempt(trial.key).closed:
                return Decision(stop=True, reason=ATTEMPT_CLOSED)
            self._closer.metrics.setdefault(trial.key, {}).update(numbers)
            append_report(self._directory, trial.number, step, numbers)
            if value is None or self._stopping_rule is None:
                return CONTINUE
            with self._study.refresh() as table:
                if self._thaws.repeats(table.entries[trial.number], step):
                    return CONTINUE
                reason = self._stopping_rule.reason_to_stop(trial.number, table)
            return Decision(stop=True, reason=reason, freezes=self._thaws.freezes) if reason else CONTINUE

    def check(self, trial: Trial) -> Decision:
        if not self.owns(trial):
            return Decision(stop=True, reason=ATTEMPT_CLOSED)
        cancelled = self._study.read_recent_command() == "cancelled"
        return Decision(stop=True, reason="the sweep was cancelled") if cancelled else CONTINUE

    def owns(self, trial: Trial) -> bool:
        """Whether ``trial`` still belongs to the agent that asked for it, as far as this process knows."""
        return trial.key not in self._closer.revoked

    # -- closing a trial ----------------------------------------------------------------------------------------

    def note_work(self, trial: Trial, seconds: float) -> None:
        self._closer.worked_s[trial.key] = seconds

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        with self._storage.connected():
            self._closer.complete(trial, outcome)

    def release(self, trial: Trial, reason: str) -> None:
        self._closer.release(trial.key, reason)

    def crash(self, trial: Trial, reason: str, *, killed: bool = False) -> None:
        with self._study.refresh() as table:
            entry = table.entries[trial.number]
            lost = entry.lost | {trial.attempt}
            suspect = not killed and entry.newest.key == trial.key and self._is_suspect(table, entry)
        self._closer.crash(trial.key, reason, lost=len(lost), killed=killed, suspect=suspect)

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        with self._study.refresh() as table:
            entry = table.entries[trial.number]
            if entry.newest.key != trial.key or not self._is_suspect(table, entry):
                return False
        self._closer.release(trial.key, reason, suspect=True)
        return True

    def _is_suspect(self, table: TrialTable, entry: TrialEntry) -> bool:
        return is_suspect(table, entry, forgiven=self._study.forgiven)

    # -- the sweep ----------------------------------------------------------------------------------------------

    @property
    def command(self) -> str:
        """The last command given to the sweep: one of ``study.COMMANDS``. May be set."""
        return self._study.read_command()

    @command.setter
    def command(self, command: str) -> None:
        self._study.give_command(command)

    def completion(self) -> Completion | None:
        self._study.read_command()
        with self._study.refresh() as table:
            completion = self._find_completion(table, None, self._leases.find_expired(table))
        return None if completion is not None and self._choose_frozen(completion) else completion

    def describe_bad_nodes(self) -> list[str]:
        with self._study.refresh() as table:
            return describe_bad_nodes(table, forgiven=self._study.forgiven)

    def retry(self, numbers: Iterable[int]) -> None:
        """Queue failed and crashed trials again. The failures so far do not end the sweep again."""
        for number in numbers:
            with self._study.refresh() as table:
                entry = table.entries[number].snapshot()
            if entry.state in FAILED:
                self._claims.retry(entry)
        self.forgive_failures()

    def forgive_failures(self) -> None:
        with self._study.refresh() as table:
            newest = table.newest_key
        self._study.forgive(newest)

    def has_live_agents(self) -> bool | None:
        return self._leases.has_live_agents()

    def close_orphans(self) -> None:
        while True:
            with self._study.refresh() as table:
                entry = self._leases.find_expired(table)
                orphan = entry.snapshot() if entry else None
            if orphan is None:
                return
            self._leases.close_expired(orphan, final=True)

    def close(self) -> None:
        self._leases.close()
        self._storage.close()


def _refuse_external_method(spec: SweepSpec) -> None:
    if spec.method_info.external:
        choices = ", ".join(sorted(name for name, method in METHODS.items() if not method.external))
        raise SweepConfigError([f"method: {spec.method!r} needs W&B's servers; the choices here are {choices}"])
