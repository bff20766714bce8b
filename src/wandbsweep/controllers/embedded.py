"""The embedded controller: a study in Optuna's storage, shared by all agents, with no server of its own."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.controllers.ending import Ending, why_over
from wandbsweep.controllers.exact import packed, unpacked
from wandbsweep.controllers.feed import feed_of
from wandbsweep.controllers.journal import JournalFile, JournalInMemory, WatchedJournal
from wandbsweep.controllers.ledger import (
    CLAIM,
    OUTCOME,
    PARAMS,
    Claim,
    Entry,
    Ledger,
    StoredOutcome,
    StoredParams,
    best_of,
)
from wandbsweep.controllers.mirror import Mirror
from wandbsweep.controllers.prior import find_known, read_known
from wandbsweep.controllers.pruners import make_stopper
from wandbsweep.controllers.repeats import reached
from wandbsweep.controllers.search import make_search
from wandbsweep.errors import SweepConfigError, SweepDirectoryError
from wandbsweep.spec import SweepSpec
from wandbsweep.trial import CONTINUE, Decision, Outcome, State, Trial, TrialRecord, as_number, as_step, is_number

SEED = "wandbsweep:seed"
IDENTITY = "wandbsweep:identity"
KNOWN = "wandbsweep:known"
JOURNAL = "journal.log"
STUDY = "sweep"
"""The name of the only study in a journal."""

METHODS = ("bayes", "grid", "random")

# An agent that died while choosing parameters must not hold up the others for longer than this.
_PATIENCE_S = 30.0
_POLL_S = 0.02

_CLOSED = "this attempt is closed; another agent may have the trial"

log = logging.getLogger(__name__)

_DIRECTIONS = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}

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
        stored = storage.get_study_system_attrs(self._study)
        self.identity: dict[str, str] = stored.get(IDENTITY, spec.identity)
        """Of the sweep that the store holds."""
        self._search = make_search(spec, seed=self.seed, axes=axes, known=read_known(stored.get(KNOWN, [])))
        self._stopper = make_stopper(spec, storage, study_name)
        self._mirror = Mirror(spec.parameters)
        self._max_failures = max_failures
        self._feed = feed_of(storage, self._study)
        self._ledger = Ledger(spec.goal)
        self._lock = threading.RLock()
        self._asking = threading.Lock()
        self._metrics: dict[int, dict[str, float]] = {}
        self._turns = _Turns()
        self._warned = False

    @property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no end."""
        return min((n for n in (self.spec.run_cap, self._search.size) if n is not None), default=None)

    def trials(self) -> list[TrialRecord]:
        with self._synced() as ledger:
            return ledger.records()

    def ending(self) -> Ending | None:
        """Why no more trials are given out; None: there are more."""
        with self._synced() as ledger:
            return self._ending(ledger)

    def ask(self, agent: str) -> Trial | None:
        # One thread at a time: two would only take each other's numbers, and bayes chooses one after another anyway.
        with self._asking:
            while True:
                with self._synced() as ledger:
                    if self._ending(ledger) is not None:
                        return None
                    entry = ledger.queued()
                    given_back = (ledger.record(entry), entry.attempts, _others(entry)) if entry else None
                    opened = len(ledger.entries)
                trial = self._continue(agent, *given_back) if given_back else self._open_new(agent, opened)
                if trial is not None:
                    return trial

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        step = as_step(step)
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

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self._close(trial.key, self._settle(trial, outcome))

    def release(self, trial: Trial, reason: str) -> None:
        self._give_back(trial.key, reason)

    def close(self) -> None:
        self._storage.remove_session()

    # -- giving out ---------------------------------------------------------------------------------------------

    def _ending(self, ledger: Ledger) -> Ending | None:
        target = self.spec.metric.target if self.spec.metric else None
        repeats = self.spec.repeats
        # With repeats a target is a mean's, not that of one lucky run.
        single = None if repeats else target
        over = why_over(ledger, cap=self.cap, target=single, max_failures=self._max_failures)
        if over or target is None or not repeats or not reached(target, ledger.records(), repeats, self.spec.goal):
            return over
        return Ending(f"the target {target:g} was reached, as the mean of {len(repeats.values)} runs")

    def _open_new(self, agent: str, expected: int) -> Trial | None:
        """Claim the next number, likely ``expected``; None: others were faster, and took the last."""
        params = self._search.draw(expected)
        key = self._claim(agent, number=None, attempt=1, params=_stored(expected, params))
        number = self._number_won(key)
        if number is None:
            return None
        if params is None or number != expected:
            params = self._choose(key, number)
        elif not isinstance(self._storage, WatchedJournal):
            self._store_mirror(key, params)
        return Trial(number, _exact(params), key=key)

    def _continue(self, agent: str, record: TrialRecord, attempts: int, others: Mapping[str, Any]) -> Trial | None:
        """Claim a trial that was given back; None: another agent was faster."""
        params = dict(record.params)
        key = self._claim(
            agent,
            number=record.number,
            attempt=attempts + 1,
            params=_stored(record.number, params or None),
            reports=record.reports,
            others=others,
        )
        if self._number_won(key) is None:
            return None
        self._metrics[key] = dict(record.metrics)
        if not params:
            params = _exact(self._choose(key, record.number))
        return Trial(record.number, params, attempt=attempts + 1, key=key)

    def _claim(
        self,
        agent: str,
        *,
        number: int | None,
        attempt: int,
        params: StoredParams | None,
        reports: Mapping[int, float] | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> int:
        claim = Claim(agent=agent, number=number, attempt=attempt, cap=self.cap)
        attributes: dict[str, Any] = {**(others or {}), CLAIM: claim}
        values: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if params is not None:
            attributes[PARAMS] = params
            # They may turn out to be another trial's, and a database cannot change its mirror.
            if number is not None or isinstance(self._storage, WatchedJournal):
                values, distributions = self._mirror.of(unpacked(params["values"]))
        template = FrozenTrial(
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
        return self._storage.create_new_trial(self._study, template_trial=template)

    def _number_won(self, key: int) -> int | None:
        """The number that the claim ``key`` won; None: it is void, and closed."""
        while True:
            with self._synced() as ledger:
                if ledger.knows(key):
                    number = ledger.number_of(key)
                    break
            time.sleep(_POLL_S)  # a database may show a later trial before an earlier one
        if number is None:
            self._storage.set_trial_state_values(key, TrialState.FAIL)
        return number

    def _choose(self, key: int, number: int) -> dict[str, Any]:
        """Choose the parameters of a trial that has its number already, and store them.

        Agents choose in the order of their numbers, so that each sees what the one before it runs: two that chose
        from the same trials would choose the same point.
        """
        try:
            params = self._search.draw(number)
            if params is None:
                self._await_turn(number)
                params = self._search.propose(number, [t for t in self.trials() if t.number != number])
            self._storage.set_trial_system_attr(key, PARAMS, cast(dict[str, Any], _stored(number, params)))
        except BaseException as error:
            self._give_back(key, f"no parameters were chosen ({type(error).__name__})")
            raise
        self._store_mirror(key, params)
        return params

    def _store_mirror(self, key: int, params: Mapping[str, Any]) -> None:
        values, distributions = self._mirror.of(params)
        for name, distribution in distributions.items():
            self._storage.set_trial_param(key, name, distribution.to_internal_repr(values[name]), distribution)

    def _await_turn(self, number: int) -> None:
        while True:
            with self._synced() as ledger:
                choosing = [entry.number for entry in ledger.running if entry.number < number and not entry.chosen]
            if not self._turns.wait_for(choosing):
                return
            time.sleep(_POLL_S)

    # -- judging ------------------------------------------------------------------------------------------------

    def _judge(self, trial: Trial) -> Decision:
        if self._stopper is None:
            return CONTINUE
        with self._synced() as ledger:
            reason = self._stopper(trial, ledger)
        return Decision(stop=True, reason=reason) if reason else CONTINUE

    # -- closing ------------------------------------------------------------------------------------------------

    def _settle(self, trial: Trial, outcome: Outcome) -> StoredOutcome:
        """A trial's value: the best one that it reported, else the number that its task returned."""
        metrics = self._metrics.get(trial.key, {})
        reports = list(self._storage.get_trial(trial.key).intermediate_values.values())
        returned = as_number(outcome.returned)
        value = best_of(reports, self.spec.goal)
        if value is None and is_number(returned):
            value = returned
            self._warn_of_other_metrics(metrics, bool(reports))
        state, reason, hopeless = outcome.state, outcome.reason, False
        if state == "finished" and (lacking := self._lacking(metrics, bool(reports), returned)):
            state, hopeless = "failed", True
            reason = _no_metric(lacking, metrics)
        return StoredOutcome(state=state, reason=reason, value=value, metrics=metrics, hopeless=hopeless)

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

    def _lacking(self, metrics: Mapping[str, float], reported: bool, returned: float | None) -> list[str]:
        """The metrics that the sweep optimises and that a trial never gave."""
        if self.spec.metrics:
            return [metric.name for metric in self.spec.metrics if metric.name not in metrics]
        return [self.spec.metric.name] if self.spec.metric and not reported and returned is None else []

    def _give_back(self, key: int, reason: str) -> None:
        metrics = self._metrics.get(key, {})
        self._close(key, StoredOutcome(state="queued", reason=reason, value=None, metrics=metrics, hopeless=False))

    def _close(self, key: int, outcome: StoredOutcome) -> None:
        state, values = _OPTUNA_STATE[outcome["state"]], None
        if self.spec.metrics:
            found = [outcome["metrics"].get(metric.name, math.nan) for metric in self.spec.metrics]
            values = found if all(map(is_number, found)) else None
        elif outcome["value"] is not None:
            values = [outcome["value"]]
        if values is None and state == TrialState.COMPLETE:
            state = TrialState.FAIL  # as Optuna calls a trial without a value
        try:
            self._storage.set_trial_system_attr(key, OUTCOME, cast(dict[str, Any], outcome))
            self._storage.set_trial_state_values(key, state, values)
        except UpdateFinishedTrialError:
            log.warning("A trial was closed by another agent before this one could say that it %s.", outcome["state"])
        self._metrics.pop(key, None)

    @contextmanager
    def _synced(self) -> Iterator[Ledger]:
        """The ledger, brought up to date with the store and kept from other threads for a ``with`` block."""
        with self._lock:
            self._ledger.update(self._feed.changes())
            yield self._ledger


class _Turns:
    """How long to wait for agents that choose parameters; one that died while choosing must hold nobody up."""

    def __init__(self) -> None:
        self._dead: set[int] = set()
        self._first = -1
        self._since = 0.0

    def wait_for(self, choosing: Sequence[int]) -> bool:
        """Whether to wait on, where the trials ``choosing`` come first."""
        alive = [number for number in choosing if number not in self._dead]
        if not alive:
            return False
        if alive[0] != self._first:
            self._first, self._since = alive[0], time.monotonic()
        elif time.monotonic() - self._since > _PATIENCE_S:
            self._dead.add(alive[0])
        return True


def _others(entry: Entry) -> dict[str, Any]:
    """What Optuna's pruners noted down of a trial's newest attempt, for the next one."""
    return {key: value for key, value in entry.newest.system_attrs.items() if not key.startswith("wandbsweep:")}


def _stored(number: int, params: Mapping[str, Any] | None) -> StoredParams | None:
    return None if params is None else StoredParams(number=number, values=packed(params))


def _exact(params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` as everybody else will read them."""
    exact: dict[str, Any] = unpacked(packed(params))
    return exact


def open_storage(path: Path | None, url: str | None = None) -> BaseStorage:
    """Where a sweep's state is kept: the database at ``url``, else the journal in ``path``, else memory."""
    if url is None:
        return WatchedJournal(JournalInMemory() if path is None else JournalFile(path / JOURNAL))
    if url.startswith("sqlite"):  # its writers wait for each other, by default 5 s, and then give up
        return get_storage(RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}))
    return get_storage(url)


def read_ledger(storage: BaseStorage, study_name: str, goal: str) -> Ledger:
    """What ``storage`` knows of a sweep's trials, without a controller."""
    ledger = Ledger(goal)
    try:
        study = storage.get_study_id_from_name(study_name)
    except KeyError:  # set up, and not started yet
        return ledger
    ledger.update(storage.get_all_trials(study, deepcopy=False))
    return ledger


def _open_study(storage: BaseStorage, name: str, spec: SweepSpec, seed: int | None) -> int:
    logging.getLogger("optuna.storages").setLevel(logging.WARNING)
    goals = [metric.goal for metric in spec.metrics] or [spec.goal]
    with suppress(KeyError):
        return storage.get_study_id_from_name(name)
    known = find_known(spec)  # once: the other sweeps may be gone when an agent joins
    try:
        study = storage.create_new_study([_DIRECTIONS[goal] for goal in goals], name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)
    if known:
        storage.set_study_system_attr(study, KNOWN, known)
    storage.set_study_system_attr(study, IDENTITY, spec.identity)
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
    if faults:
        raise SweepConfigError(faults)


def _no_metric(names: Sequence[str], seen: Mapping[str, float]) -> str:
    logged = ", ".join(sorted(seen)) if seen else "nothing"
    wanted = " and ".join(map(repr, names))
    return f"the metric {wanted} was never reported and the task returned no number; reported: {logged}"
