"""Closes attempts: those of this process, and those of agents that vanished."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.outcome import (
    StoredOutcome,
    compute_loss,
    compute_outcome,
    describe_reported,
    find_best_value,
)
from wandbsweep.controllers.trial_entry import OUTCOME, TrialEntry
from wandbsweep.launchers import explain_memory_kill
from wandbsweep.spec.early_termination import THAW
from wandbsweep.spec.limits import list_excesses
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import AttemptClosedError, AttemptState
from wandbsweep.text import quote_names
from wandbsweep.trial import Outcome, State, Trial, as_number, is_number

_ATTEMPT_STATES: Mapping[State, AttemptState] = {
    "finished": AttemptState.COMPLETE,
    "stopped": AttemptState.PRUNED,
    "frozen": AttemptState.PRUNED,
    "failed": AttemptState.FAIL,
    "crashed": AttemptState.FAIL,
    "queued": AttemptState.FAIL,
}

CONSTRAINTS = "constraints"
"""The attribute by which Optuna's dashboard and samplers know feasible trials: numbers that are 0 or less."""

log = logging.getLogger(__name__)


class Closer:
    """Stores the outcomes of attempts and closes them.

    An outcome is stored first, and then its attempt is closed. An attempt can be closed only once, and the outcome that
    is stored at that moment counts. If this process is killed between the two, the attempt stays open until its lease
    expires. The agent that takes the trial over then finds the outcome, and closes the attempt with it.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._storage, self._spec, self._options = study.storage, study.spec, study.options
        self.open: set[int] = set()
        """The attempts that this process claimed and has not closed."""
        self.revoked: set[int] = set()
        """The attempts of this process that other agents have taken over."""
        self.metrics: dict[int, dict[str, float]] = {}
        """By attempt, the last value of each metric that it reported to this process."""
        self.worked_s: dict[int, float] = {}
        """By attempt, how long its task ran, once that is known."""
        self._warned = self._warned_of_limits = False

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        """Close an attempt whose task has ended."""
        metrics = self.metrics.get(trial.key, {})
        reports = self._storage.read_reports(trial.key)
        if find_best_value(reports.values(), self._spec.goal) is None and is_number(as_number(outcome.returned)):
            self._warn_of_other_metrics(metrics, reported=bool(reports))
        if outcome.state == "finished":
            self._warn_of_unknown_limits({**metrics, **outcome.metrics})
        stored = compute_outcome(self._spec, outcome, reports=reports, metrics=metrics)
        if stored.state == "stopped" and self._may_continue(trial, reports):
            stored = replace(stored, state="frozen")
        self._close(trial.key, stored)

    def _may_continue(self, trial: Trial, reports: Mapping[int, float]) -> bool:
        """Return whether a stopped trial is frozen: it has reported something new, and the sweep goes on."""
        settings = self._spec.early_terminate
        if settings is None or settings.type != THAW or self._study.read_recent_command() == "cancelled":
            return False
        with self._study.last() as table:
            before = table.entries[trial.number].frozen_at
        return any(is_number(value) for step, value in reports.items() if before is None or step > before)

    def release(self, key: int, reason: str, *, suspect: bool = False) -> None:
        """Close an attempt of this process whose trial is to be continued by another one."""
        self._close(key, StoredOutcome("queued", reason, metrics=self.metrics.get(key, {}), suspect=suspect))

    def crash(self, key: int, reason: str, *, lost: int, killed: bool, suspect: bool) -> None:
        """Close an attempt whose process died.

        Args:
            key: The attempt.
            reason: How the process died.
            lost: How many attempts of the trial were lost, this one included.
            killed: Whether something outside the training killed the process.
            suspect: Whether the agent's node may be to blame, so that another agent should try the trial.
        """
        reports, metrics = self._storage.read_reports(key), self.metrics.get(key)
        limit = self._options.max_attempts
        outcome = compute_loss(
            self._spec, reason, lost=lost, max_attempts=limit, reports=reports, metrics=metrics, killed=killed
        )
        self._close(key, replace(outcome, suspect=suspect and outcome.state == "queued"))

    def close_expired(self, entry: TrialEntry, *, seen: float | None, final: bool = False) -> None:
        """Close the attempt of an agent that vanished, unless it is closed by now.

        If the agent stored an outcome before it vanished, the attempt is closed with that outcome. The agent may also
        come back and store its own. The outcome that is stored when the attempt is closed is the one that all read.

        Args:
            entry: The trial, whose newest attempt this is.
            seen: When the agent last showed that it lived (Unix time, by its own clock); None: unknown.
            final: Whether no agent takes the trial over.
        """
        key, reason = entry.newest.key, f"agent {entry.agent} was not heard of for {self._options.lease_s:g} s"
        lost = len(entry.lost) + 1
        outcome = compute_loss(
            self._spec, reason, lost=lost, max_attempts=self._options.max_attempts, killed=True, final=final
        )
        if entry.job and (how := explain_memory_kill(entry.job)):  # another attempt would end in the same way
            outcome = StoredOutcome("failed", f"{how} ({reason})", lost=True, killed=True, cause="out of memory")
        with suppress(AttemptClosedError):
            if seen is not None and entry.newest.started is not None:
                outcome = replace(outcome, worked_s=max(0.0, seen - entry.newest.started))
            if OUTCOME not in self._storage.read_attempt(key).attributes:
                self._storage.set_attribute(key, OUTCOME, outcome.encode())
            self._storage.close_attempt(key, AttemptState.FAIL)

    def close_void(self, key: int) -> None:
        """Close an attempt of this process that no agent runs."""
        with suppress(AttemptClosedError):
            self._storage.close_attempt(key, AttemptState.FAIL)
        self.open.discard(key)

    def check_open(self) -> None:
        """Find out which attempts other agents closed while this process was silent."""
        self.revoked |= {key for key in list(self.open) if self._storage.read_attempt(key).closed}

    def _close(self, key: int, outcome: StoredOutcome) -> None:
        outcome = replace(outcome, worked_s=self.worked_s.pop(key, None))
        state, values = _describe_to_optuna(self._spec, outcome)
        try:
            self._storage.set_attribute(key, OUTCOME, outcome.encode())
            excesses = list_excesses(self._spec.limits, outcome.metrics)
            if excesses and outcome.state != "queued":
                self._storage.set_attribute(key, CONSTRAINTS, excesses)
            self._storage.close_attempt(key, state, values)
        except AttemptClosedError:
            log.warning("A trial was closed by another agent before this one could say that it %s.", outcome.state)
        self.metrics.pop(key, None)
        self.open.discard(key)

    def _warn_of_other_metrics(self, metrics: Mapping[str, float], *, reported: bool) -> None:
        """Warn once if a task reports only other metrics than the sweep's, so that its returned number counts."""
        if self._warned or self._spec.metric is None or reported or not metrics:
            return
        self._warned = True
        log.warning(
            "%r was never reported (%s); the number that the task returned is taken for it.",
            self._spec.metric.name,
            describe_reported([self._spec.metric.name], metrics),
        )

    def _warn_of_unknown_limits(self, metrics: Mapping[str, float]) -> None:
        """Warn once if a trial finished without a metric that ``metric.constraints`` limits: its name may be wrong."""
        missing = [limit.name for limit in self._spec.limits if limit.name not in metrics]
        if missing and not self._warned_of_limits:
            self._warned_of_limits = True
            log.warning(
                "metric.constraints limits %s, which a trial that finished never reported, so that it counts as "
                "infeasible (%s).",
                quote_names(missing),
                describe_reported(missing, metrics),
            )


def _describe_to_optuna(spec: SweepSpec, outcome: StoredOutcome) -> tuple[AttemptState, list[float] | None]:
    """Return the state and the objective values with which an attempt is closed, for Optuna's tools to read."""
    state, values = _ATTEMPT_STATES[outcome.state], None
    if spec.metrics:
        found = [outcome.metrics.get(metric.name, math.nan) for metric in spec.metrics]
        values = found if all(map(is_number, found)) else None
    elif outcome.value is not None:
        values = [outcome.value]
    if values is None and state == AttemptState.COMPLETE:
        state = AttemptState.FAIL  # in Optuna a complete trial must have a value
    return state, values
