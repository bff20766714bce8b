"""What the stored attempts mean: Optuna's trials folded into ours.

An *attempt* is an Optuna trial, and only its creation is ever contested, because a store puts creations in one order
for everybody. So nothing is locked: each agent writes what it claims, and all of them read the same answer.

- An attempt without a number opens a new trial. Its number is the count of trials opened before it, and it is void
  when its claimant's cap (the grid's size, ``run_cap``) was already reached: numbers are unique and never skip.
- An attempt with a number continues that trial. It is valid if it is the next one (``attempt`` = those before + 1);
  of several claimants the first in the store's order wins, and the rest are void.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from wandbsweep.trial import State, TrialRecord, is_number

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CLAIM = "wandbsweep:claim"
PARAMS = "wandbsweep:params"
OUTCOME = "wandbsweep:outcome"


class Claim(TypedDict):
    """The system attribute that an attempt is created with."""

    agent: str
    number: int | None
    """None: a new trial."""
    attempt: int
    cap: int | None
    """How many trials there may be in all, as far as the claimant knew."""


class StoredOutcome(TypedDict):
    """The system attribute written just before an attempt is closed."""

    state: State
    reason: str
    value: float | None
    metrics: Mapping[str, float]
    hopeless: bool
    """Whether it failed in a way that every other trial will: the script never gives the metric's value."""


@dataclass(slots=True)
class Entry:
    """One trial: its valid attempts, and the newest of them as stored."""

    number: int
    positions: list[int]
    """Where its attempts stand among the store's trials."""
    started: float | None
    newest: FrozenTrial
    record: TrialRecord | None = None
    """Made when asked for; dropped when the newest attempt changes."""


@dataclass
class Ledger:
    """The trials of one sweep, brought up to date by ``update`` with the store's trials in their order of creation."""

    goal: str = "minimize"
    entries: list[Entry] = field(default_factory=list)
    ended: Counter[State] = field(default_factory=Counter)
    """How many trials ended in which state."""
    best: float | None = None
    """The best value of the trials that ended."""
    hopeless: bool = False
    _open: dict[int, Entry] = field(default_factory=dict)
    _seen: int = 0

    def update(self, stored: Sequence[FrozenTrial]) -> None:
        for entry in list(self._open.values()):
            self._refresh(entry, stored[entry.positions[-1]])
        for position in range(self._seen, len(stored)):
            self._admit(position, stored[position])
        self._seen = len(stored)

    def number_of(self, key: int) -> int | None:
        """The number that the attempt with the store's id ``key`` won; None: it is void.

        Looked for from the end, where a claim just made stands.
        """
        for entry in reversed(self.entries):
            if entry.newest._trial_id == key:
                return entry.number
        return None

    @property
    def open(self) -> list[Entry]:
        """The trials that run or wait, by number."""
        return sorted(self._open.values(), key=lambda entry: entry.number)

    def records(self) -> list[TrialRecord]:
        return [self.record(entry) for entry in self.entries]

    def record(self, entry: Entry) -> TrialRecord:
        if entry.record is None:
            entry.record = _record(entry, self.goal)
        return entry.record

    def queued(self) -> Entry | None:
        """The lowest-numbered trial that was given back."""
        return next((entry for entry in self.open if entry.newest.state.is_finished()), None)

    def _admit(self, position: int, attempt: FrozenTrial) -> None:
        claim: Claim | None = attempt.system_attrs.get(CLAIM)
        if claim is None:
            return  # somebody used the store for a study of their own
        number = claim["number"]
        if number is None:
            if claim["cap"] is None or len(self.entries) < claim["cap"]:
                entry = Entry(len(self.entries), [position], _timestamp(attempt.datetime_start), attempt)
                self.entries.append(entry)
                self._open[entry.number] = entry
                self._refresh(entry, attempt)
        elif claim["attempt"] == len(self.entries[number].positions) + 1:
            entry = self.entries[number]
            entry.positions.append(position)
            self._refresh(entry, attempt)

    def _refresh(self, entry: Entry, newest: FrozenTrial) -> None:
        if newest is not entry.newest:
            entry.newest, entry.record = newest, None
        if newest.state.is_finished() and outcome_of(newest)["state"] != "queued":
            del self._open[entry.number]
            self._close(outcome_of(newest))

    def _close(self, outcome: StoredOutcome) -> None:
        self.ended[outcome["state"]] += 1
        self.best = best_of([v for v in (self.best, outcome["value"]) if v is not None], self.goal)
        self.hopeless |= outcome.get("hopeless", False)


def outcome_of(attempt: FrozenTrial) -> StoredOutcome:
    """How a closed attempt ended; one that another program closed has crashed, as far as we know."""
    outcome: StoredOutcome | None = attempt.system_attrs.get(OUTCOME)
    return outcome or StoredOutcome(
        state="crashed", reason="closed by another program", value=None, metrics={}, hopeless=False
    )


def best_of(values: Sequence[float], goal: str) -> float | None:
    """The best of the finite ``values``; None: there is none."""
    finite = [value for value in values if is_number(value)]
    return (max if goal == "maximize" else min)(finite, default=None)


def _record(entry: Entry, goal: str) -> TrialRecord:
    attempt = entry.newest
    reports = attempt.intermediate_values
    common: dict[str, Any] = {
        "number": entry.number,
        "params": attempt.system_attrs.get(PARAMS, {}),
        "reports": reports,
        "attempts": len(entry.positions),
        "agent": attempt.system_attrs[CLAIM]["agent"],
        "started": entry.started,
    }
    if not attempt.state.is_finished():
        return TrialRecord(state="running", value=best_of(list(reports.values()), goal), **common)
    outcome = outcome_of(attempt)
    return TrialRecord(
        state=outcome["state"],
        value=outcome["value"],
        metrics=outcome["metrics"],
        reason=outcome["reason"],
        ended=None if outcome["state"] == "queued" else _timestamp(attempt.datetime_complete),
        **common,
    )


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
