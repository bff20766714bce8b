"""What the stored attempts mean: Optuna's trials folded into ours.

An *attempt* is an Optuna trial, and only its creation is ever contested, because a store puts creations in one order
for everybody. So nothing is locked: each agent writes what it claims, and all of them read the same answer.

- An attempt without a number opens a new trial. Its number is the count of trials opened before it, and it is void
  when its claimant's cap (the grid's size, ``run_cap``) was already reached: numbers are unique and never skip.
- An attempt with a number continues that trial. It is valid if it is the next one (``attempt`` = those before + 1) and
  the one before was given back or lost; of several claimants the first in the store's order wins, the rest are void.
  While the one before is still open nothing is decided: whoever takes a lost trial over claims first and closes the
  lost attempt then, so that a trial never lies between two owners, and one that its owner closes after all has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NotRequired, Protocol, TypedDict

from wandbsweep.stopping.history import History, as_history
from wandbsweep.storage.json_codec import unpacked
from wandbsweep.trial import State, TrialRecord, is_number

CLAIM = "wandbsweep:claim"
PARAMS = "wandbsweep:params"
OUTCOME = "wandbsweep:outcome"


class Stage(Protocol):
    def is_finished(self) -> bool:
        """Whether nothing can be written any more."""


class Attempt(Protocol):
    """One execution of a trial as stored: Optuna's FrozenTrial, or what ``reading`` makes of the same records."""

    _trial_id: int

    @property
    def state(self) -> Stage: ...

    @property
    def system_attrs(self) -> dict[str, Any]: ...

    @property
    def intermediate_values(self) -> dict[int, float]: ...

    @property
    def datetime_start(self) -> datetime | None: ...

    @property
    def datetime_complete(self) -> datetime | None: ...


class Claim(TypedDict):
    """The system attribute that an attempt is created with."""

    agent: str
    number: int | None
    """None: a new trial."""
    attempt: int
    cap: int | None
    """How many trials there may be in all, as far as the claimant knew."""
    owner: NotRequired[str | None]
    """Whose lease it is held by; None: nobody's, in memory."""


class StoredParams(TypedDict):
    """The system attribute that holds an attempt's parameters.

    A new attempt is created with those of the number that it hopes for; if it wins another one, they do not count, and
    are replaced.
    """

    number: int
    values: dict[str, Any]
    """As ``exact.packed`` makes them."""


class StoredOutcome(TypedDict):
    """The system attribute written just before an attempt is closed."""

    state: State
    reason: str
    value: float | None
    metrics: Mapping[str, float]
    hopeless: bool
    """Whether it failed in a way that every other trial will: the script never gives the metric's value."""
    lost: NotRequired[bool]
    """Whether the process that ran it vanished: what ``max_attempts`` counts."""
    doubted: NotRequired[bool]
    """Whether it failed, but maybe by its agent's fault: another one is to try it."""


@dataclass(slots=True)
class TrialEntry:
    """One trial: how many valid attempts it has, and the newest of them as stored."""

    number: int
    attempts: int
    started: float | None
    newest: Attempt
    record: TrialRecord | None = None
    """Made when asked for; dropped when the newest attempt changes."""
    lost: set[int] = field(default_factory=set)
    """Which of its attempts, counted from 1, ended with their process."""
    claims: dict[int, Attempt] = field(default_factory=dict)
    """By the store's id, in its order: claims of later attempts, undecided while the newest one is open."""

    @property
    def agent(self) -> str:
        """Who has, or had, the newest attempt."""
        return str(_claim(self.newest)["agent"])

    @property
    def owner(self) -> str | None:
        """Whose lease the newest attempt is, or was, held by."""
        return _claim(self.newest).get("owner")

    @property
    def chosen(self) -> bool:
        """Whether its parameters are."""
        stored: StoredParams | None = self.newest.system_attrs.get(PARAMS)
        return stored is not None and stored["number"] == self.number


@dataclass
class TrialTable:
    """The trials of one sweep, brought up to date by ``update``."""

    goal: str = "minimize"
    entries: list[TrialEntry] = field(default_factory=list)
    ended: Counter[State] = field(default_factory=Counter)
    """How many trials ended in which state."""
    best: float | None = None
    """The best value of the trials that ended."""
    hopeless: bool = False
    doubts: dict[str, set[int]] = field(default_factory=dict)
    """By agent: the trials that failed there, and that another agent is to try."""
    able: set[str] = field(default_factory=set)
    """The agents that brought a trial to its end."""
    _attempts: dict[int, TrialEntry | None] = field(default_factory=dict)
    """By the store's id of every attempt seen; None: void."""
    _open: dict[int, TrialEntry] = field(default_factory=dict)
    _queued: set[int] = field(default_factory=set)
    _histories: dict[int, History] = field(default_factory=dict)
    _changed: set[int] = field(default_factory=set)
    """The trials whose history was not read since they changed."""

    def update(self, stored: Iterable[Attempt]) -> None:
        """Take the store's trials as they are now: those created since the last time in order, others in any."""
        for attempt in stored:
            if attempt._trial_id not in self._attempts:
                self._attempts[attempt._trial_id] = self._admitted(attempt)
            entry = self._attempts[attempt._trial_id]
            if entry is None:
                continue
            if attempt._trial_id in entry.claims:
                entry.claims[attempt._trial_id] = attempt
            elif entry.newest._trial_id == attempt._trial_id:
                self._refresh(entry, attempt)
            self._settle(entry)

    def knows(self, key: int) -> bool:
        """Whether it is decided what the attempt with the store's id ``key`` won."""
        entry = self._attempts.get(key)
        return key in self._attempts and (entry is None or key not in entry.claims)

    def number_of(self, key: int) -> int | None:
        """The number that the attempt with the store's id ``key`` won; None: it is void."""
        entry = self._attempts[key]
        return None if entry is None else entry.number

    @property
    def attempts(self) -> int:
        """How many were seen, void ones included."""
        return len(self._attempts)

    @property
    def open(self) -> list[TrialEntry]:
        """The trials that run or wait, by number."""
        return sorted(self._open.values(), key=lambda entry: entry.number)

    @property
    def running(self) -> list[TrialEntry]:
        return [entry for entry in self.open if entry.number not in self._queued]

    def records(self) -> list[TrialRecord]:
        return [self.record(entry) for entry in self.entries]

    def record(self, entry: TrialEntry) -> TrialRecord:
        if entry.record is None:
            entry.record = _record(entry, self.goal)
        return entry.record

    def histories(self) -> Mapping[int, History]:
        """By number, what counts of each trial's reports, in the order of their steps."""
        for number in self._changed:
            reports = self.entries[number].newest.intermediate_values
            self._histories[number] = as_history(reports[step] for step in sorted(reports))
        self._changed.clear()
        return self._histories

    def find_finished(self) -> set[int]:
        """Return the numbers of the trials that finished by themselves."""
        ended = (entry for entry in self.entries if entry.newest.state.is_finished())
        return {entry.number for entry in ended if outcome_of(entry.newest)["state"] == "finished"}

    def newest_keys(self) -> dict[int, int]:
        """Return the storage's key of each trial's newest attempt, by number."""
        return {entry.number: entry.newest._trial_id for entry in self.entries}

    def queued(self, agent: str | None = None) -> TrialEntry | None:
        """The lowest-numbered trial that was given back, and that ``agent`` has not failed before."""
        failed = self.doubts.get(agent, set()) if agent is not None else set()
        waiting = self._queued - failed
        return self.entries[min(waiting)] if waiting else None

    def _admitted(self, attempt: Attempt) -> TrialEntry | None:
        """The trial that a new attempt belongs to; None: it is void, or somebody else's use of the store."""
        claim: Claim | None = attempt.system_attrs.get(CLAIM)
        if claim is None:
            return None
        number = claim["number"]
        if number is None:
            if claim["cap"] is not None and len(self.entries) >= claim["cap"]:
                return None
            entry = TrialEntry(len(self.entries), 1, _timestamp(attempt.datetime_start), attempt)
            self.entries.append(entry)
            self._open[entry.number] = entry
            return entry
        entry = self.entries[number]
        if number not in self._open or claim["attempt"] <= entry.attempts:
            return None
        entry.claims[attempt._trial_id] = attempt
        return entry

    def _settle(self, entry: TrialEntry) -> None:
        """Decide the claims of ``entry`` that can be: none while its newest attempt is open."""
        while entry.number in self._queued and (successor := _next_claim(entry)):
            entry.attempts += 1
            del entry.claims[successor._trial_id]
            self._refresh(entry, successor)
        for key, claim in list(entry.claims.items()):
            if entry.number not in self._open or _claim(claim)["attempt"] <= entry.attempts:
                del entry.claims[key]
                self._attempts[key] = None

    def _refresh(self, entry: TrialEntry, newest: Attempt) -> None:
        if newest is not entry.newest:
            entry.newest, entry.record = newest, None
        self._changed.add(entry.number)
        self._queued.discard(entry.number)
        if not newest.state.is_finished():
            return
        outcome = outcome_of(newest)
        if outcome.get("lost"):
            entry.lost.add(entry.attempts)
        if outcome.get("doubted"):
            self.doubts.setdefault(entry.agent, set()).add(entry.number)
        if outcome["state"] in ("finished", "stopped"):
            self.able.add(entry.agent)
        if outcome["state"] == "queued":
            self._queued.add(entry.number)
        elif self._open.pop(entry.number, None) is not None:
            self._close(outcome)

    def _close(self, outcome: StoredOutcome) -> None:
        self.ended[outcome["state"]] += 1
        self.best = best_of([v for v in (self.best, outcome["value"]) if v is not None], self.goal)
        self.hopeless |= outcome.get("hopeless", False)


def outcome_of(attempt: Attempt) -> StoredOutcome:
    """How a closed attempt ended; one that another program closed has crashed, as far as we know."""
    outcome: StoredOutcome | None = attempt.system_attrs.get(OUTCOME)
    return outcome or StoredOutcome(
        state="crashed", reason="closed by another program", value=None, metrics={}, hopeless=False
    )


def _claim(attempt: Attempt) -> Claim:
    claim: Claim = attempt.system_attrs[CLAIM]
    return claim


def _next_claim(entry: TrialEntry) -> Attempt | None:
    following = (claim for claim in entry.claims.values() if _claim(claim)["attempt"] == entry.attempts + 1)
    return next(following, None)


def best_of(values: Sequence[float], goal: str) -> float | None:
    """The best of the finite ``values``; None: there is none."""
    finite = [value for value in values if is_number(value)]
    return (max if goal == "maximize" else min)(finite, default=None)


def _record(entry: TrialEntry, goal: str) -> TrialRecord:
    attempt = entry.newest
    reports = attempt.intermediate_values
    common: dict[str, Any] = {
        "number": entry.number,
        "params": unpacked(attempt.system_attrs[PARAMS]["values"]) if entry.chosen else {},
        "reports": reports,
        "attempts": entry.attempts,
        "agent": entry.agent,
        "started": entry.started,
    }
    so_far = best_of(list(reports.values()), goal)
    if not attempt.state.is_finished():
        return TrialRecord(state="running", value=so_far, **common)
    outcome = outcome_of(attempt)
    return TrialRecord(
        state=outcome["state"],
        value=so_far if outcome["state"] == "queued" else outcome["value"],
        metrics=outcome["metrics"],
        reason=outcome["reason"],
        ended=None if outcome["state"] == "queued" else _timestamp(attempt.datetime_complete),
        **common,
    )


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
