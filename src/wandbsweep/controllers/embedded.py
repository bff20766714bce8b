"""The embedded controller: a study in Optuna's storage, shared by all agents, with no server of its own."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.controllers.ending import Ending, why_over
from wandbsweep.controllers.journal import JournalFile, JournalInMemory
from wandbsweep.controllers.ledger import CLAIM, OUTCOME, PARAMS, Claim, Entry, Ledger, StoredOutcome, best_of
from wandbsweep.controllers.mirror import mirrored
from wandbsweep.controllers.search import make_search
from wandbsweep.errors import SweepConfigError, SweepDirectoryError
from wandbsweep.spec import SweepSpec
from wandbsweep.stopping import hyperband
from wandbsweep.trial import CONTINUE, Decision, Outcome, State, Trial, TrialRecord, is_number

SEED = "wandbsweep:seed"
JOURNAL = "journal.log"
STUDY = "sweep"
"""The name of the only study in a journal."""

METHODS = ("bayes", "grid", "random")

# An agent that died while choosing parameters must not hold up the others for longer than this.
_PATIENCE_S = 30.0
_POLL_S = 0.02

_OPTUNA_STATE: Mapping[State, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "queued": TrialState.FAIL,
}


class EmbeddedController:
    """Gives out, stops and closes trials from what stands in ``storage``; any number of them share one study.

    Everything is derived from the store, nothing is remembered between calls but the metrics last reported, so an
    agent may come and go at any time. ``axes`` replaces a grid's values and order (see ``search.GridSearch``).
    """

    def __init__(
        self,
        spec: SweepSpec,
        storage: BaseStorage,
        *,
        study_name: str,
        seed: int | None = None,
        max_failures: int | None = None,
        axes: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        _refuse_unsupported(spec)
        self.spec = spec
        self._storage = storage
        self._study = _open_study(storage, study_name, spec, seed)
        self.seed = _stored_seed(storage, self._study)
        self._search = make_search(spec, seed=self.seed, axes=axes)
        self._max_failures = max_failures
        self._ledger = Ledger(spec.goal)
        self._lock = threading.RLock()
        self._metrics: dict[int, dict[str, float]] = {}
        self._histories: dict[int, list[float]] = {}  # of trials that ended: those never change

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no end."""
        return min((n for n in (self.spec.run_cap, self._search.size) if n is not None), default=None)

    def trials(self) -> list[TrialRecord]:
        with self._synced() as ledger:
            return ledger.records()

    def ending(self) -> Ending | None:
        """Why no more trials are given out; None: there are more."""
        target = self.spec.metric.target if self.spec.metric else None
        with self._synced() as ledger:
            return why_over(ledger, cap=self.cap, target=target, max_failures=self._max_failures)

    def ask(self, agent: str) -> Trial | None:
        while self.ending() is None:
            trial = self._continue_queued(agent) or self._open_new(agent)
            if trial is not None:
                return trial
        return None

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        self._metrics.setdefault(trial.key, {}).update(numbers)
        value = numbers.get(self.spec.metric.name) if self.spec.metric else None
        if value is None or isinstance(value, bool):
            return CONTINUE
        try:
            self._storage.set_trial_intermediate_value(trial.key, step, float(value))
        except UpdateFinishedTrialError:
            return Decision(stop=True, reason="another agent has this trial now")
        return self._judge(trial)

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self._close(trial, self._settle(trial, outcome))

    def release(self, trial: Trial, reason: str) -> None:
        self._close(trial, StoredOutcome(state="queued", reason=reason, value=None, metrics={}, hopeless=False))

    def close(self) -> None:
        self._storage.remove_session()

    # -- giving out ---------------------------------------------------------------------------------------------

    def _open_new(self, agent: str) -> Trial | None:
        """Claim the next number; None: others were faster, and took the last."""
        with self._synced() as ledger:
            expected = len(ledger.entries)
        params = self._search.draw(expected)
        key = self._claim(agent, number=None, attempt=1, params=params)
        with self._synced() as ledger:
            number = ledger.number_of(key)
        if number is None:
            self._void(key)
            return None
        if params is None or number != expected:
            params = self._choose(key, number)
        return Trial(number, params, key=key)

    def _continue_queued(self, agent: str) -> Trial | None:
        """Claim the trial that was given back first; None: there is none, or another agent was faster."""
        with self._synced() as ledger:
            entry = ledger.queued()
            if entry is None:
                return None
            record, attempt = ledger.record(entry), len(entry.positions) + 1
        params = dict(record.params)
        key = self._claim(
            agent, number=record.number, attempt=attempt, params=params or None, reports=record.reports
        )
        with self._synced() as ledger:
            won = ledger.number_of(key) is not None
        if not won:
            self._void(key)
            return None
        return Trial(record.number, params or self._choose(key, record.number), attempt=attempt, key=key)

    def _claim(
        self,
        agent: str,
        *,
        number: int | None,
        attempt: int,
        params: dict[str, Any] | None,
        reports: Mapping[int, float] | None = None,
    ) -> int:
        claim = Claim(agent=agent, number=number, attempt=attempt, cap=self.cap)
        attributes: dict[str, Any] = {CLAIM: claim}
        values: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if params is not None:
            attributes[PARAMS] = params
            values, distributions = mirrored(self.spec.parameters, params)
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(tz=UTC),
            datetime_complete=None,
            params=values,
            distributions=distributions,
            user_attrs={},
            system_attrs=attributes,
            intermediate_values=dict(reports or {}),
        )
        return self._storage.create_new_trial(self._study, template_trial=template)

    def _void(self, key: int) -> None:
        self._storage.set_trial_state_values(key, TrialState.FAIL)

    def _choose(self, key: int, number: int) -> dict[str, Any]:
        """Choose the parameters of a trial that has its number already, and store them.

        Agents choose in the order of their numbers, so that each sees what the one before it runs: two that chose
        from the same trials would choose the same point.
        """
        params = self._search.draw(number)
        if params is None:
            self._await_turn(number)
            params = self._search.propose(number, [t for t in self.trials() if t.number != number])
        values, distributions = mirrored(self.spec.parameters, params)
        for name, distribution in distributions.items():
            internal = distribution.to_internal_repr(values[name])
            self._storage.set_trial_param(key, name, internal, distribution)
        self._storage.set_trial_system_attr(key, PARAMS, params)
        return params

    def _await_turn(self, number: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            with self._synced() as ledger:
                if all(PARAMS in e.newest.system_attrs for e in ledger.open if e.number < number):
                    return
            time.sleep(_POLL_S)

    # -- judging ------------------------------------------------------------------------------------------------

    def _judge(self, trial: Trial) -> Decision:
        if self.spec.early_terminate is None:
            return CONTINUE
        with self._synced() as ledger:
            histories = {entry.number: self._history(ledger, entry) for entry in ledger.entries}
        verdicts = hyperband(self.spec.early_terminate, self.spec.goal, histories, {trial.number})
        reason = verdicts.get(trial.number)
        return Decision(stop=True, reason=reason) if reason else CONTINUE

    def _history(self, ledger: Ledger, entry: Entry) -> list[float]:
        known = self._histories.get(entry.number)
        if known is None:
            known = ledger.record(entry).history
            if entry.newest.state.is_finished() and ledger.record(entry).state != "queued":
                self._histories[entry.number] = known
        return known

    # -- closing ------------------------------------------------------------------------------------------------

    def _settle(self, trial: Trial, outcome: Outcome) -> StoredOutcome:
        """A trial's value: the best one that it reported, else the number that its task returned."""
        metrics = self._metrics.get(trial.key, {})
        reports = list(self._storage.get_trial(trial.key).intermediate_values.values())
        value = best_of(reports, self.spec.goal)
        if value is None and is_number(outcome.returned):
            value = outcome.returned
        state, reason, hopeless = outcome.state, outcome.reason, False
        if state == "finished" and self.spec.metric and not reports and outcome.returned is None:
            state, hopeless = "failed", True
            reason = _no_metric(self.spec.metric.name, metrics)
        return StoredOutcome(state=state, reason=reason, value=value, metrics=metrics, hopeless=hopeless)

    def _close(self, trial: Trial, outcome: StoredOutcome) -> None:
        values = None if outcome["value"] is None else [outcome["value"]]
        try:
            self._storage.set_trial_system_attr(trial.key, OUTCOME, cast(dict[str, Any], outcome))
            self._storage.set_trial_state_values(trial.key, _OPTUNA_STATE[outcome["state"]], values)
        except UpdateFinishedTrialError:
            logging.getLogger(__name__).warning("Trial %d was closed by another agent.", trial.number)
        self._metrics.pop(trial.key, None)

    @contextmanager
    def _synced(self) -> Iterator[Ledger]:
        """The ledger, brought up to date with the store and kept from other threads for a ``with`` block."""
        with self._lock:
            self._ledger.update(self._storage.get_all_trials(self._study, deepcopy=False))
            yield self._ledger


def open_storage(path: Path | None, url: str | None = None) -> BaseStorage:
    """Where a sweep's state is kept: the database at ``url``, else the journal in ``path``, else memory."""
    if url is not None:
        return get_storage(url)
    return JournalStorage(JournalInMemory() if path is None else JournalFile(path / JOURNAL))


def read_ledger(storage: BaseStorage, study_name: str, goal: str) -> Ledger:
    """What ``storage`` knows of a sweep's trials, without a controller."""
    ledger = Ledger(goal)
    ledger.update(storage.get_all_trials(storage.get_study_id_from_name(study_name), deepcopy=False))
    return ledger


def _open_study(storage: BaseStorage, name: str, spec: SweepSpec, seed: int | None) -> int:
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    direction = StudyDirection.MAXIMIZE if spec.goal == "maximize" else StudyDirection.MINIMIZE
    try:
        study = storage.create_new_study([direction], name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)
    storage.set_study_system_attr(study, SEED, random.SystemRandom().getrandbits(32) if seed is None else seed)
    return study


def _stored_seed(storage: BaseStorage, study: int) -> int:
    """The seed of the search; whoever created the study may be about to write it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        seed = storage.get_study_system_attrs(study).get(SEED)
        if seed is not None:
            return int(seed)
        if time.monotonic() > deadline:
            raise SweepDirectoryError("The store holds a study without a seed: it was not made by wandbsweep.")
        time.sleep(_POLL_S)


def _refuse_unsupported(spec: SweepSpec) -> None:
    faults = []
    if spec.method not in METHODS:
        faults.append(f"method: {spec.method!r} needs W&B's servers; the choices here are {', '.join(METHODS)}")
    if spec.metrics:
        faults.append("metrics: several metrics need W&B's servers; give the one to optimise as `metric`")
    if faults:
        raise SweepConfigError(faults)


def _no_metric(name: str, seen: Mapping[str, float]) -> str:
    logged = ", ".join(sorted(seen)) if seen else "nothing"
    return f"the metric {name!r} was never reported and the task returned no number; reported: {logged}"
