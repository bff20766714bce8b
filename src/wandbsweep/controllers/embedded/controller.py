"""The embedded controller: a study in Optuna's storage, shared by all agents, with no server of its own."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.controllers.base import Limits
from wandbsweep.controllers.completion import Completion, describe_command, find_completion
from wandbsweep.controllers.embedded import bad_nodes as doubt
from wandbsweep.controllers.embedded.control_requests import Orders
from wandbsweep.controllers.embedded.known_trials import decode_known_trials, find_known_trials
from wandbsweep.controllers.embedded.proposals import Chooser, stored_params
from wandbsweep.controllers.embedded.stopping_rules import make_stopping_rule
from wandbsweep.controllers.outcome import StoredOutcome, compute_outcome, find_best_value
from wandbsweep.controllers.trial_table import (
    CLAIM,
    OUTCOME,
    PARAMS,
    Claim,
    StoredParams,
    TrialEntry,
    TrialTable,
)
from wandbsweep.errors import SweepConfigError
from wandbsweep.search.make import make_search
from wandbsweep.spec.methods import METHODS
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.change_feed import View, feed_of
from wandbsweep.storage.json_codec import decode_json, encode_json
from wandbsweep.storage.leases import Keeper
from wandbsweep.storage.open import IDENTITY, KNOWN, SEED, Store, leases_of, open_study, study_attributes
from wandbsweep.trial import CONTINUE, Decision, Outcome, State, Trial, TrialRecord, as_number, as_step, is_number

_POLL_S = 0.02
_WAIT_S = 0.25  # what an agent that has to wait sleeps between two looks

_CLOSED = "this attempt is closed; another agent may have the trial"

log = logging.getLogger(__name__)


class EmbeddedController:
    """Gives out, stops and closes trials from what stands in ``storage``; any number of them share one study.

    Everything is derived from the store, nothing is remembered between calls but the metrics last reported, so an
    agent may come and go at any time. ``axes`` replaces a grid's values and order (see ``search.GridSearch``).

    But in memory, this controller shows until it is closed that it lives, and a trial whose agent was silent for
    ``lease_s`` seconds is lost: it is given out again, until ``max_attempts`` of its attempts were lost. ``directory``
    is the sweep's, where the leases are that go with a journal.
    """

    def __init__(
        self,
        spec: SweepSpec,
        storage: Store,
        *,
        study_name: str,
        seed: int | None = None,
        axes: Mapping[str, Sequence[Any]] | None = None,
        directory: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        _refuse_unsupported(spec)
        self.spec = spec
        self._storage = storage
        with storage.connected():
            self._study = open_study(
                storage, study_name, spec, seed, find_known=partial(find_known_trials, spec), directory=directory
            )
            stored = study_attributes(storage, self._study)
        self.seed = int(stored[SEED])
        self.identity: dict[str, str] = stored.get(IDENTITY, spec.identity)
        """Of the sweep that the store holds."""
        search = make_search(spec, seed=self.seed, plain_grid=axes, known=decode_known_trials(stored.get(KNOWN, [])))
        self._stopping_rule = make_stopping_rule(spec, storage, study_name)
        self._limits = limits
        self._view = View(feed_of(storage, self._study), spec.goal)
        self._chooser = Chooser(spec, search, storage, self._view)
        self._asking = threading.Lock()
        self._waited = -math.inf
        """Until when an ask here had to wait for a trial to give out (monotonic)."""
        self._metrics: dict[int, dict[str, float]] = {}
        self._warned = False
        self._leases = leases = leases_of(storage, self._study, directory)
        self._keeper = Keeper(leases, limits.lease_s, others=self._owners, suspect=self._suspect) if leases else None
        self._mine: set[int] = set()
        """The attempts that this controller handed out, and that are not closed."""
        self._fenced: set[int] = set()
        self._orders = Orders(storage, self._study)

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no end."""
        return min((n for n in (self.spec.run_cap, self._chooser.size) if n is not None), default=None)

    def trials(self) -> list[TrialRecord]:
        with self._view.now() as ledger:
            return ledger.records()

    def completion(self) -> Completion | None:
        """Why no more trials are given out; None: there are more."""
        self._orders.read()
        with self._view.now() as ledger:
            return self._ending(ledger)

    def ask(self, agent: str) -> Trial | None:
        with self._storage.connected():
            asked = time.monotonic()
            with self._asking:  # one thread at a time: two would only take each other's numbers
                trial = self._next(agent)
            if trial is None or trial.params:
                return trial
            return replace(trial, params=_exact(self._choose(trial, max(asked, self._waited))))

    def _next(self, agent: str) -> Trial | None:
        """The next trial, without parameters where these are still to be chosen; None: there is none."""
        sure = False
        while True:
            if self._orders.recent() == "paused":
                self._wait()
                continue
            with self._view.now() as ledger:
                entry = ledger.find_queued(agent) or self._lapsed(ledger)
                over = self._why_over(ledger, agent, entry)
                if over is not None and over.exhausted:
                    entry = self._ghost(ledger)
                    over = None if entry else over
                left = _Left(entry, ledger.record(entry)) if entry else None
            if over is not None:
                if sure:
                    return None
                sure = self.ready(agent)  # and look once more: that may have shown that a trial is lost
                if not sure:
                    self._wait()
                continue
            if left and left.running and len(left.lost) + 1 >= self._limits.max_attempts:
                self._bury(left)
                continue
            trial = self._continue(agent, left) if left else self._open_new(agent)
            if trial is not None:
                return trial

    def _wait(self) -> None:
        """For there to be a trial to give out."""
        self._pause(_WAIT_S)
        self._waited = time.monotonic()

    def ready(self, agent: str) -> bool:
        """Whether ``ask`` answers at once; else it waits.

        It does while the sweep is paused, and while nothing is left but trials of other agents, of which it is not
        yet known that these live: an agent that left would not be there to take them over.
        """
        with self._storage.connected():
            if self._orders.read() == "paused":
                return False
            with self._view.now() as ledger:
                over = self._why_over(ledger, agent, self._lapsed(ledger))
                if over is None or not over.exhausted:
                    return True
            return self.has_live_agents() is not None

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        with self._storage.connected():
            return self._report(trial, as_step(step), metrics)

    def _report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        if (decided := self.check(trial)).stop:
            return decided
        numbers = {name: n for name, value in metrics.items() if (n := as_number(value)) is not None}
        value = numbers.get(self.spec.metric.name) if self.spec.metric else None
        if value is not None:
            try:
                self._storage.set_trial_intermediate_value(trial.key, step, value)
            except UpdateFinishedTrialError:
                return Decision(stop=True, reason=_CLOSED)
        elif trial.key not in self._metrics and self._storage.get_trial(trial.key).state.is_finished():
            return Decision(stop=True, reason=_CLOSED)
        self._metrics.setdefault(trial.key, {}).update(numbers)
        return CONTINUE if value is None else self._judge(trial)

    def check(self, trial: Trial) -> Decision:
        """What was decided about ``trial`` since it last reported: it was cancelled, or is another agent's now."""
        if trial.key in self._fenced:
            return Decision(stop=True, reason=_CLOSED)
        cancelled = self._orders.recent() == "cancelled"
        return Decision(stop=True, reason="the sweep was cancelled") if cancelled else CONTINUE

    def owns(self, trial: Trial) -> bool:
        """Whether ``trial`` is, as far as is known, still that of who asked for it."""
        return trial.key not in self._fenced

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        with self._storage.connected():
            self._close(trial.key, self._settle(trial, outcome))

    def release(self, trial: Trial, reason: str) -> None:
        self._give_back(trial.key, reason)

    def crash(self, trial: Trial, reason: str) -> None:
        with self._view.now() as ledger:
            lost = ledger.entries[trial.number].lost | {trial.attempt}
        again = len(lost) < self._limits.max_attempts
        reason = reason if again else f"{reason}; attempt {len(lost)} of {self._limits.max_attempts}"
        self._give_back(trial.key, reason, state="queued" if again else "crashed", lost=True)

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        """Give a trial that failed to another agent, where this one may be to blame (``doubt.py``); whether it was."""
        with self._view.now() as ledger:
            entry = ledger.entries[trial.number]
            begun = entry.newest.started
            lasted_s = time.time() - begun if begun else 0.0
            if entry.newest.key != trial.key or not doubt.is_doubtful(ledger, entry, lasted_s=lasted_s):
                return False
        self._give_back(trial.key, reason, doubted=True)
        return True

    def wait_s(self, agent: str) -> float:
        """How long ``agent`` should wait before it asks, in seconds; more than 0 where its node seems bad."""
        with self._view.now() as ledger:
            return doubt.wait_s(ledger, agent)

    def close(self) -> None:
        if self._keeper:
            self._keeper.close()
        self._storage.remove_session()

    # -- who lives ----------------------------------------------------------------------------------------------

    @property
    def command(self) -> str:
        """What somebody outside ordered: one of ``orders.ORDERS``."""
        return self._orders.read()

    @command.setter
    def command(self, command: str) -> None:
        self._orders.give(command)

    def has_live_agents(self) -> bool | None:
        """Whether others live that run trials of this sweep; None: it cannot be told yet, ask again."""
        if self._keeper is None or not (owners := self._owners()):
            return False
        self._keeper.look()
        verdicts = {self._keeper.watch.verdict(owner) for owner in owners}
        return None if "unknown" in verdicts else "alive" in verdicts

    def close_orphans(self) -> None:
        """Close the trials whose agents vanished and that nobody will go on with, since the sweep is over."""
        while True:
            with self._view.now() as ledger:
                entry = self._lapsed(ledger)
                left = _Left(entry, ledger.record(entry)) if entry else None
            if left is None:
                return
            self._bury(left)

    def _owners(self) -> set[str]:
        """Of the trials that run elsewhere."""
        own = self._keeper.owner if self._keeper else None
        with self._view.now() as ledger:
            return {entry.owner for entry in ledger.running if entry.owner and entry.owner != own}

    def _lapsed(self, ledger: TrialTable) -> TrialEntry | None:
        """A trial whose agent has vanished."""
        lapsed = self._keeper.watch.lapsed if self._keeper else []
        return next((entry for entry in ledger.running if entry.owner in lapsed), None) if lapsed else None

    def _ghost(self, ledger: TrialTable) -> TrialEntry | None:
        """A trial that is this process's, and that it knows nothing of: the answer of a database was lost."""
        own = self._keeper.owner if self._keeper else None
        mine = (entry for entry in ledger.running if own is not None and entry.owner == own)
        return next((entry for entry in mine if entry.newest.key not in self._mine), None)

    def _suspect(self) -> None:
        """This process was silent so long that what it runs may be others' by now."""
        for key in list(self._mine):
            if self._storage.get_trial(key).state.is_finished():
                self._fenced.add(key)

    def _bury(self, left: _Left) -> None:
        """Close for good a trial that was lost too often."""
        lost = len(left.lost) + 1
        limit = f"; attempt {lost} of {self._limits.max_attempts}" if lost >= self._limits.max_attempts else ""
        self._declare_lost(left.key, f"{self._silence(left)}{limit}", state="crashed")

    def _silence(self, left: _Left) -> str:
        return f"agent {left.agent} was not heard of for {self._limits.lease_s:g} s"

    def _declare_lost(self, key: int, reason: str, *, state: State) -> None:
        """Close the attempt of an agent that vanished; where that agent closes it after all, its word counts."""
        outcome = StoredOutcome(state=state, reason=reason, lost=True)
        with suppress(UpdateFinishedTrialError):
            if OUTCOME not in self._storage.get_trial(key).system_attrs:
                self._storage.set_trial_system_attr(key, OUTCOME, outcome.encode())
            self._storage.set_trial_state_values(key, TrialState.FAIL)

    # -- giving out ---------------------------------------------------------------------------------------------

    def _ending(self, ledger: TrialTable) -> Completion | None:
        return self._why_over(ledger, None, self._lapsed(ledger))

    def _why_over(self, ledger: TrialTable, agent: str | None, lost: TrialEntry | None) -> Completion | None:
        """Why ``agent`` is given no more trials, where ``lost`` is one that it could take over."""
        over = find_completion(
            ledger,
            self.spec,
            called_off=describe_command(self._orders.last),
            max_failures=self._limits.max_failures,
            cap=self.cap,
            agent=agent,
        )
        if (over is None or over.exhausted) and agent is not None and doubt.is_bad(ledger, agent):
            return Completion(f"agent {agent} failed {doubt.STRIKES} trials while others do well")
        return None if over and over.exhausted and lost else over

    def _open_new(self, agent: str) -> Trial | None:
        """Claim the next number; None: others were faster, and took the last.

        The number is foreseen from how many attempts there are by then, and with it what follows from it: one thing
        for all the others to read in place of two. Nothing rests on it: where a claim came between that opens no trial,
        another number is won.
        """
        with self._view.now() as ledger:
            known, attempts = len(ledger.entries), ledger.attempts
        foreseen: dict[str, Any] | None = None
        expected = -1

        def template(created: int) -> FrozenTrial:
            nonlocal foreseen, expected
            expected = known + max(created - attempts, 0)
            inside = self.cap is None or expected < self.cap
            foreseen = self._chooser.draw(expected) if inside else None
            return self._template(agent, number=None, attempt=1, params=stored_params(expected, foreseen))

        key = self._claim(template)
        number = self._number_won(key)
        if number is None:
            return None
        return Trial(number, _exact(foreseen) if foreseen and number == expected else {}, key=key)

    def _continue(self, agent: str, left: _Left) -> Trial | None:
        """Claim a trial that was given back or lost; None: another agent was faster, or it has ended after all."""
        params, number, attempt = dict(left.record.params), left.record.number, left.attempts + 1
        template = self._template(
            agent,
            number=number,
            attempt=attempt,
            params=stored_params(number, params or None),
            reports=left.record.reports,
            others=left.others,
        )
        key = self._claim(lambda _: template)
        if left.running:
            self._declare_lost(left.key, self._silence(left), state="queued")
        if self._number_won(key) is None:
            return None
        self._metrics[key] = dict(left.record.metrics)
        return Trial(number, params, attempt=attempt, key=key)

    def _claim(self, template: Callable[[int], FrozenTrial]) -> int:
        if self._keeper:
            self._keeper.start()
        key = self._storage.create_trial(self._study, template)
        self._mine.add(key)
        return key

    def _template(
        self,
        agent: str,
        *,
        number: int | None,
        attempt: int,
        params: StoredParams | None,
        reports: Mapping[int, float] | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> FrozenTrial:
        """What a claim of this process's is stored as."""
        owner = self._keeper.owner if self._keeper else None
        claim = Claim(agent=agent, number=number, attempt=attempt, cap=self.cap, owner=owner)
        attributes: dict[str, Any] = {**(others or {}), CLAIM: claim}
        values: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if params is not None:
            attributes[PARAMS] = params
            values, distributions = self._chooser.mirrored(params)
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=values,
            distributions=distributions,
            user_attrs={},
            system_attrs=attributes,
            intermediate_values=dict(reports or {}),
        )

    def _number_won(self, key: int) -> int | None:
        """The number that the claim ``key`` won; None: it is void, and closed."""
        created = True
        while True:
            with self._view.now(created=created) as ledger:
                if ledger.is_decided(key):
                    number = ledger.find_number(key)
                    break
            if not created:
                self._pause(_POLL_S)  # a database may show a later trial before an earlier one
            created = False  # whether a claim of a later attempt has won, the end of the one before tells
        if number is None:
            with suppress(UpdateFinishedTrialError):
                self._storage.set_trial_state_values(key, TrialState.FAIL)
            self._mine.discard(key)
        return number

    def _choose(self, trial: Trial, asked: float) -> dict[str, Any]:
        try:
            return self._chooser.choose(trial.key, trial.number, asked)
        except BaseException as error:
            self._give_back(trial.key, f"no parameters were chosen ({type(error).__name__})")
            raise

    # -- judging ------------------------------------------------------------------------------------------------

    def _judge(self, trial: Trial) -> Decision:
        if self._stopping_rule is None:
            return CONTINUE
        with self._view.now() as ledger:
            reason = self._stopping_rule.reason_to_stop(trial.number, ledger)
        return Decision(stop=True, reason=reason) if reason else CONTINUE

    # -- closing ------------------------------------------------------------------------------------------------

    def _settle(self, trial: Trial, outcome: Outcome) -> StoredOutcome:
        metrics = self._metrics.get(trial.key, {})
        reports = self._storage.reports(trial.key)
        if find_best_value(reports, self.spec.goal) is None and is_number(as_number(outcome.returned)):
            self._warn_of_other_metrics(metrics, bool(reports))
        return compute_outcome(self.spec, outcome, reports=reports, metrics=metrics)

    def _warn_of_other_metrics(self, metrics: Mapping[str, float], reported: bool) -> None:
        """Once, where a task reports, but the number that it returns is what counts."""
        if self._warned or self.spec.metric is None or reported or not metrics:
            return
        self._warned = True
        log.warning(
            "%r was never reported (reported: %s); the number that the task returned is taken for it.",
            self.spec.metric.name,
            ", ".join(sorted(metrics)),
        )

    def _give_back(
        self, key: int, reason: str, *, state: State = "queued", lost: bool = False, doubted: bool = False
    ) -> None:
        value = find_best_value(self._storage.reports(key), self.spec.goal) if state == "crashed" else None
        metrics = self._metrics.get(key, {})
        self._close(key, StoredOutcome(state, reason, value, metrics, lost=lost, suspect=doubted))

    def _close(self, key: int, outcome: StoredOutcome) -> None:
        state, values = in_optuna(self.spec, outcome)
        try:
            self._storage.set_trial_system_attr(key, OUTCOME, outcome.encode())
            self._storage.set_trial_state_values(key, state, values)
        except UpdateFinishedTrialError:
            log.warning("A trial was closed by another agent before this one could say that it %s.", outcome.state)
        self._metrics.pop(key, None)
        self._mine.discard(key)

    def _pause(self, seconds: float) -> None:
        self._storage.let_go()
        time.sleep(seconds)


class _Left:
    """A trial that is to be gone on with, as it stands."""

    def __init__(self, entry: TrialEntry, record: TrialRecord) -> None:
        self.record = record
        self.key = entry.newest.key
        self.agent = entry.agent
        self.attempts = entry.attempts
        self.lost = frozenset(entry.lost)
        self.running = record.state == "running"
        # What Optuna's pruners noted down of its newest attempt, for the next one.
        attributes = entry.newest.attributes
        self.others = {name: value for name, value in attributes.items() if not name.startswith("wandbsweep:")}


_OPTUNA_STATE = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "crashed": TrialState.FAIL,
    "queued": TrialState.FAIL,
}


def in_optuna(spec: SweepSpec, outcome: StoredOutcome) -> tuple[TrialState, list[float] | None]:
    """The state and the values of Optuna's trial."""
    state, values = _OPTUNA_STATE[outcome.state], None
    if spec.metrics:
        found = [outcome.metrics.get(metric.name, math.nan) for metric in spec.metrics]
        values = found if all(map(is_number, found)) else None
    elif outcome.value is not None:
        values = [outcome.value]
    if values is None and state == TrialState.COMPLETE:
        state = TrialState.FAIL  # as Optuna calls a trial without a value
    return state, values


def _exact(params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` as everybody else will read them."""
    exact: dict[str, Any] = decode_json(encode_json(params))
    return exact


def _refuse_unsupported(spec: SweepSpec) -> None:
    faults = []
    if spec.method_info.external:
        here = sorted(method.name for method in METHODS.values() if not method.external)
        faults.append(f"method: {spec.method!r} needs W&B's servers; the choices here are {', '.join(here)}")
    if faults:
        raise SweepConfigError(faults)
