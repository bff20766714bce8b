"""The trials of a sweep, derived from the attempts that its agents stored.

An *attempt* is one execution of a trial. Agents claim trials by creating attempts, and this is all that they compete
for. The storage puts the creations into one order that all agents read. So nothing is locked: each agent writes its
claim, and all agents derive from the order who has won.

- An attempt without a number opens a new trial. Its number is the count of trials opened before it. The attempt is
  void if its claimant's cap (the grid's size, ``run_cap``) was already reached. So numbers are unique and consecutive.
- An attempt with a number continues that trial. It is valid if it is the next one (``attempt`` is one more than there
  are) and the attempt before it was released or lost. Of several claims the first in the storage's order wins; the
  others are void. Nothing is decided while the attempt before is open: the agent that takes over a lost trial first
  claims it, and then closes the lost attempt. So a trial always has an owner. If the first owner closes its attempt
  after all, the trial has ended, and the claims of later attempts are void.
- An attempt with a number and ``retry`` gives a trial out again that has failed or crashed. No agent runs it: whether
  it is closed or not, the trial is queued from then on, and the next attempt continues it.
- An attempt with a number and ``thaw`` takes up a trial again that was frozen (``early_terminate: {type: thaw}``). It
  runs at once. It is void if the attempt before it ended in any other way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from wandbsweep.controllers.outcome import StoredOutcome, find_best_value
from wandbsweep.controllers.trial_entry import (
    CLAIM,
    REPEATED,
    Claim,
    TrialEntry,
    classify_claim,
    find_next_claim,
    make_record,
    measure_work,
    read_claim,
    read_outcome,
)
from wandbsweep.stopping.history import History, as_history
from wandbsweep.storage.base import StoredAttempt
from wandbsweep.trial import FAILED, SUCCEEDED, State, TrialRecord, ValueRule


@dataclass
class TrialTable:
    """The trials of one sweep, brought up to date by ``update``."""

    goal: str = "minimize"
    rule: ValueRule = "best"
    """Which of the values that a trial reports is its own."""
    entries: list[TrialEntry] = field(default_factory=list)
    ended: Counter[State] = field(default_factory=Counter)
    """How many trials ended in which state."""
    best: float | None = None
    """The best value of the trials that ended."""
    fatal: int = -1
    """The key of the newest attempt that failed in a way in which every other trial will; -1: none did."""
    suspects: dict[str, set[int]] = field(default_factory=dict)
    """By agent: the trials that failed there, and that another agent is to try."""
    streaks: dict[str, dict[int, int]] = field(default_factory=dict)
    """By agent: the attempts that failed there since it last completed a trial, with their trials' numbers. A trial
    that failed on another agent too is not among them, and neither is an attempt that something outside killed."""
    version: int = 0
    """Rises with every change."""
    _completed: dict[str, int] = field(default_factory=dict)
    """By agent: the key of the newest attempt that it completed."""
    _failed: dict[int, int] = field(default_factory=dict)
    """By key, the attempts in which trials failed or crashed for good, but for those that something outside killed."""
    _excused: set[int] = field(default_factory=set)
    """The keys of the attempts in ``_failed`` that failed because of their trials' parameters."""
    _by_key: dict[int, TrialEntry | None] = field(default_factory=dict)
    """By the key of every attempt seen; None: the attempt is void."""
    _open: dict[int, TrialEntry] = field(default_factory=dict)
    _queued: set[int] = field(default_factory=set)
    _histories: dict[int, History] = field(default_factory=dict)
    _changed: set[int] = field(default_factory=set)
    """The trials that changed since their history was last read."""

    def update(self, attempts: Iterable[StoredAttempt]) -> None:
        """Update the table with attempts as now stored: new ones in the order of creation, others in any order."""
        for attempt in attempts:
            self.version += 1
            if attempt.key not in self._by_key:
                self._by_key[attempt.key] = self._admit(attempt)
            entry = self._by_key[attempt.key]
            if entry is None:
                continue
            if attempt.key in entry.claims:
                entry.claims[attempt.key] = attempt
            elif entry.newest.key == attempt.key:
                self._refresh(entry, attempt)
            self._decide_claims(entry)

    def is_decided(self, key: int) -> bool:
        """Whether the attempt ``key`` is in the table, and it is decided which trial it won, if any."""
        entry = self._by_key.get(key)
        return key in self._by_key and (entry is None or key not in entry.claims)

    def find_number(self, key: int) -> int | None:
        """Return the number of the trial that the attempt ``key`` won; None: it is void."""
        entry = self._by_key[key]
        return None if entry is None else entry.number

    @property
    def attempts(self) -> int:
        """How many attempts were seen, void ones included."""
        return len(self._by_key)

    @property
    def newest_key(self) -> int:
        """The key of the newest attempt that was seen; -1: there is none."""
        return max(self._by_key, default=-1)

    def count_failed_in_a_row(self, *, after: int = -1, excuse: bool = False) -> int:
        """Return how many trials failed or crashed in attempts newer than ``after``, and than all completed ones.

        Those that something outside killed do not count.

        Args:
            after: The key of an attempt.
            excuse: Whether those that failed because of their parameters do not count either.
        """
        newest = max([after, *self._completed.values()])
        failed = self._failed.keys() - (self._excused if excuse else set())
        return len({self._failed[key] for key in failed if key > newest})

    @property
    def healthy(self) -> Collection[str]:
        """The agents that completed a trial."""
        return self._completed.keys()

    def find_healthy(self, *, after: int = -1) -> set[str]:
        """Return the agents that completed a trial in an attempt newer than ``after``."""
        return {agent for agent, key in self._completed.items() if key > after}

    @property
    def open(self) -> list[TrialEntry]:
        """The trials that run or are queued, by number."""
        return sorted(self._open.values(), key=lambda entry: entry.number)

    @property
    def running(self) -> list[TrialEntry]:
        return [entry for entry in self.open if entry.number not in self._queued]

    def records(self) -> list[TrialRecord]:
        return [self.record(entry) for entry in self.entries]

    def record(self, entry: TrialEntry) -> TrialRecord:
        if entry.record is None:
            entry.record = make_record(entry, self.goal, self.rule)
        return entry.record

    def histories(self) -> Mapping[int, History]:
        """By number, the finite values that each trial reported, in the order of their steps."""
        for number in self._changed:
            reports = self.entries[number].newest.reports
            self._histories[number] = as_history(reports[step] for step in sorted(reports))
        self._changed.clear()
        return self._histories

    def find_finished(self) -> set[int]:
        """Return the numbers of the trials that finished by themselves."""
        return {entry.number for entry in self.entries if entry.state == "finished"}

    def newest_keys(self) -> dict[int, int]:
        """Return the storage's key of each trial's newest attempt, by number."""
        return {entry.number: entry.newest.key for entry in self.entries}

    def find_queued(self, agent: str | None = None) -> TrialEntry | None:
        """Return the lowest-numbered queued trial that has not failed on ``agent``."""
        failed = self.suspects.get(agent, set()) if agent is not None else set()
        waiting = self._queued - failed
        return self.entries[min(waiting)] if waiting else None

    def _admit(self, attempt: StoredAttempt) -> TrialEntry | None:
        """Find the trial that a new attempt belongs to. None: it is void, or another program's."""
        claim: Claim | None = attempt.attributes.get(CLAIM)
        if claim is None:
            return None
        number = claim["number"]
        if number is None:
            if claim["cap"] is not None and len(self.entries) >= claim["cap"]:
                return None
            entry = TrialEntry(len(self.entries), 1, attempt.started, attempt)
            self.entries.append(entry)
            self._open[entry.number] = entry
            return entry
        entry = self.entries[number]
        has_ended = number not in self._open and classify_claim(claim) == "continue"
        if has_ended or claim["attempt"] <= entry.attempts:
            return None
        entry.claims[attempt.key] = attempt
        return entry

    def _decide_claims(self, entry: TrialEntry) -> None:
        """Decide the claims of ``entry``, unless its newest attempt is open."""
        while successor := find_next_claim(entry):
            entry.attempts += 1
            del entry.claims[successor.key]
            kind = classify_claim(read_claim(successor))
            entry.thaws += kind == "thaw"
            if kind == "retry":
                self._note_retry(entry)
            self._refresh(entry, successor)
        for key, claim in list(entry.claims.items()):
            if entry.state not in ("running", "queued") or read_claim(claim)["attempt"] <= entry.attempts:
                del entry.claims[key]
                self._by_key[key] = None

    def _refresh(self, entry: TrialEntry, newest: StoredAttempt) -> None:
        is_retry = classify_claim(read_claim(newest)) == "retry"
        outcome = read_outcome(newest) if newest.closed or is_retry else None
        if (outcome is None or outcome.state == "queued") and entry.number not in self._open:
            # It was frozen, W&B resumes a trial that had ended, or a user retries one that failed.
            self.ended[entry.state] -= 1
            self._open[entry.number] = entry
        entry.outcome = outcome
        entry.repeated |= REPEATED in newest.attributes
        if newest is not entry.newest:
            entry.newest, entry.record = newest, None
        self._changed.add(entry.number)
        self._queued.discard(entry.number)
        if outcome is None:
            return
        if outcome.lost:
            entry.lost.add(entry.attempts)
        if not is_retry:
            entry.work[entry.attempts] = measure_work(newest, outcome)
        if outcome.suspect:
            self.suspects.setdefault(entry.agent, set()).add(entry.number)
        self._judge_agent(entry, outcome)
        if outcome.state == "queued":
            self._queued.add(entry.number)
        elif outcome.state == "frozen":
            entry.frozen_at = max(newest.reports, default=None)
        if outcome.state != "queued" and self._open.pop(entry.number, None) is not None:
            self._count(outcome)
            if outcome.fatal:
                self.fatal = max(self.fatal, newest.key)

    def _note_retry(self, entry: TrialEntry) -> None:
        """Forget the failures of a trial that is given out again, because their cause may be gone."""
        entry.retries += 1
        entry.lost.clear()
        for numbers in self.suspects.values():
            numbers.discard(entry.number)
        for agent, streak in self.streaks.items():
            self.streaks[agent] = {key: number for key, number in streak.items() if number != entry.number}
        self._failed = {key: number for key, number in self._failed.items() if number != entry.number}

    def _judge_agent(self, entry: TrialEntry, outcome: StoredOutcome) -> None:
        """Note what the end of a trial's newest attempt says about the agent that ran it."""
        agent, key = entry.agent, entry.newest.key
        if outcome.state in SUCCEEDED:
            completed = self._completed[agent] = max(key, self._completed.get(agent, -1))
            self.streaks[agent] = {k: n for k, n in self.streaks.get(agent, {}).items() if k > completed}
            self._failed = {k: n for k, n in self._failed.items() if k > completed}
        if outcome.killed:
            return
        if outcome.state in FAILED:
            self._failed[key] = entry.number
        if outcome.cause:
            self._excused.add(key)
        has_failed = outcome.state == "failed" or (outcome.lost and not outcome.suspect)
        if has_failed and any(entry.number in numbers for numbers in self.suspects.values()):
            # It failed on two agents, so the trial is to blame.
            for streak in self.streaks.values():
                for k in [k for k, number in streak.items() if number == entry.number]:
                    del streak[k]
        elif outcome.cause:  # which says nothing about the agent
            return
        elif (outcome.state == "failed" or outcome.suspect or outcome.lost) and key > self._completed.get(agent, -1):
            self.streaks.setdefault(agent, {})[key] = entry.number

    def _count(self, outcome: StoredOutcome) -> None:
        self.ended[outcome.state] += 1
        self.best = find_best_value([self.best, outcome.value], self.goal)
