"""The embedded controller: a study in a storage that all agents share, without a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wandbsweep.controllers.base import ATTEMPT_CLOSED
from wandbsweep.controllers.completion import Completion
from wandbsweep.controllers.embedded.bad_nodes import compute_wait_s, is_suspect
from wandbsweep.controllers.embedded.claims import Claims, normalize_params
from wandbsweep.controllers.embedded.closing import Closer
from wandbsweep.controllers.embedded.control_requests import ControlRequests
from wandbsweep.controllers.embedded.dispatch import Dispatcher
from wandbsweep.controllers.embedded.lease_expiry import LeaseManager
from wandbsweep.controllers.embedded.proposals import Proposals
from wandbsweep.controllers.embedded.snapshot import TrialSnapshot
from wandbsweep.controllers.embedded.stopping_rules import make_stopping_rule
from wandbsweep.controllers.embedded.study import open_study
from wandbsweep.errors import SweepConfigError
from wandbsweep.search.make import make_search
from wandbsweep.spec.methods import METHODS
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import AttemptClosedError, Storage
from wandbsweep.sweep.launch_record import ControllerOptions
from wandbsweep.trial import CONTINUE, Decision, Outcome, Trial, TrialRecord, as_number, as_step


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
            directory: The sweep's directory, whose path is stored in a new study in a database.

        Raises:
            SweepConfigError: The method needs W&B's servers.
            SweepDirectoryError: The study was not created by wandbsweep.
        """
        _refuse_external_method(spec)
        self.spec = spec
        self._storage = storage
        options = options or ControllerOptions()
        with storage.connected():
            study = open_study(storage, study_name, spec, seed=options.seed, directory=directory)
        self.seed, self.identity = study.seed, study.identity
        search = make_search(spec, seed=study.seed, plain_grid=options.plain_grid, known=study.known)
        self._stopping_rule = make_stopping_rule(spec, storage, study_name)
        self._snapshot = snapshot = TrialSnapshot(storage.open_change_feed(study.key), spec.goal)
        self._proposals = Proposals(spec, search, storage, snapshot)
        self._closer = closer = Closer(storage, spec, options)
        self._requests = requests = ControlRequests(storage, study.key)
        self._leases = leases = LeaseManager(
            storage.open_leases(study.key), options.lease_s, find_others=self._find_others, check_own=self._check_own
        )
        self._claims = claims = Claims(storage, study.key, snapshot, self._proposals, leases, closer, self.cap)
        self._dispatcher = Dispatcher(spec, snapshot, claims, leases, closer, requests, options)
        self._asking = threading.Lock()
        self._revoked: set[int] = set()
        """The attempts of this process that other agents have taken over."""

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no limit."""
        return min((n for n in (self.spec.run_cap, self._proposals.search.size) if n is not None), default=None)

    def trials(self) -> list[TrialRecord]:
        with self._snapshot.refresh() as table:
            return table.records()

    # -- asking -------------------------------------------------------------------------------------------------

    def ask(self, agent: str) -> Trial | None:
        with self._storage.connected():
            asked_at = time.monotonic()
            with self._asking:  # one thread at a time, since two would only compete for the same numbers
                trial = self._dispatcher.claim_next(agent)
            if trial is None or trial.params:
                return trial
            return self._propose(trial, max(asked_at, self._dispatcher.waited_until))

    def _propose(self, trial: Trial, asked_at: float) -> Trial:
        try:
            params = self._proposals.propose(trial.key, trial.number, asked_at)
        except BaseException as error:  # Ctrl-C too: another agent is to propose instead of waiting for this one
            self._closer.release(trial.key, f"no parameters were chosen ({type(error).__name__})")
            raise
        return replace(trial, params=normalize_params(params))

    def ready(self, agent: str) -> bool:
        with self._storage.connected():
            return self._dispatcher.is_ready(agent)

    def wait_s(self, agent: str) -> float:
        with self._snapshot.refresh() as table:
            return compute_wait_s(table, agent)

    # -- while a trial runs -------------------------------------------------------------------------------------

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        with self._storage.connected():
            return self._report(trial, as_step(step), metrics)

    def _report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        if (decision := self.check(trial)).stop:
            return decision
        numbers = {name: n for name, value in metrics.items() if (n := as_number(value)) is not None}
        value = numbers.get(self.spec.metric.name) if self.spec.metric else None
        if value is not None:
            try:
                self._storage.report(trial.key, step, value)
            except AttemptClosedError:
                return Decision(stop=True, reason=ATTEMPT_CLOSED)
        elif trial.key not in self._closer.metrics and self._storage.read_attempt(trial.key).closed:
            return Decision(stop=True, reason=ATTEMPT_CLOSED)
        self._closer.metrics.setdefault(trial.key, {}).update(numbers)
        return CONTINUE if value is None else self._decide(trial)

    def _decide(self, trial: Trial) -> Decision:
        if self._stopping_rule is None:
            return CONTINUE
        with self._snapshot.refresh() as table:
            reason = self._stopping_rule.reason_to_stop(trial.number, table)
        return Decision(stop=True, reason=reason) if reason else CONTINUE

    def check(self, trial: Trial) -> Decision:
        if not self.owns(trial):
            return Decision(stop=True, reason=ATTEMPT_CLOSED)
        cancelled = self._requests.read_recent() == "cancelled"
        return Decision(stop=True, reason="the sweep was cancelled") if cancelled else CONTINUE

    def owns(self, trial: Trial) -> bool:
        """Whether ``trial`` still belongs to the agent that asked for it, as far as this process knows."""
        return trial.key not in self._revoked

    # -- closing a trial ----------------------------------------------------------------------------------------

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        with self._storage.connected():
            self._closer.complete(trial, outcome)

    def release(self, trial: Trial, reason: str) -> None:
        self._closer.release(trial.key, reason)

    def crash(self, trial: Trial, reason: str) -> None:
        with self._snapshot.refresh() as table:
            lost = table.entries[trial.number].lost | {trial.attempt}
        self._closer.crash(trial.key, reason, lost=len(lost))

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        with self._snapshot.refresh() as table:
            entry = table.entries[trial.number]
            lasted_s = time.time() - entry.newest.started if entry.newest.started else 0.0
            if entry.newest.key != trial.key or not is_suspect(table, entry, lasted_s=lasted_s):
                return False
        self._closer.release(trial.key, reason, suspect=True)
        return True

    # -- the sweep ----------------------------------------------------------------------------------------------

    @property
    def command(self) -> str:
        """The last command given to the sweep: one of ``control_requests.COMMANDS``. May be set."""
        return self._requests.read()

    @command.setter
    def command(self, command: str) -> None:
        self._requests.give(command)

    def completion(self) -> Completion | None:
        return self._dispatcher.completion()

    def forgive_failures(self) -> None:
        with self._snapshot.refresh() as table:
            newest = table.newest_key
        self._requests.forgive(newest)

    def has_live_agents(self) -> bool | None:
        return self._leases.has_live_agents()

    def close_orphans(self) -> None:
        self._dispatcher.close_orphans()

    def close(self) -> None:
        self._leases.close()
        self._storage.close()

    def _find_others(self) -> set[str]:
        """Return the owners of the trials that run in other processes."""
        with self._snapshot.refresh() as table:
            return {entry.owner for entry in table.running if entry.owner and entry.owner != self._leases.owner}

    def _check_own(self) -> None:
        """Find out which attempts other agents closed while this process was silent."""
        self._revoked |= {key for key in list(self._closer.open) if self._storage.read_attempt(key).closed}


def _refuse_external_method(spec: SweepSpec) -> None:
    if spec.method_info.external:
        choices = ", ".join(sorted(name for name, method in METHODS.items() if not method.external))
        raise SweepConfigError([f"method: {spec.method!r} needs W&B's servers; the choices here are {choices}"])
