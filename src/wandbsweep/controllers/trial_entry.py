"""One trial of a sweep: the attempts that won it, their claims and outcomes. ``trial_table`` has all trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NotRequired, TypedDict

from wandbsweep.controllers.outcome import StoredOutcome, choose_value
from wandbsweep.storage.base import StoredAttempt
from wandbsweep.storage.json_codec import decode_json
from wandbsweep.trial import State, TrialRecord, ValueRule

# The attributes of an attempt.
CLAIM = "wandbsweep:claim"
PARAMS = "wandbsweep:params"
OUTCOME = "wandbsweep:outcome"
REPEATED = "wandbsweep:repeated"
"""Set if a trial that was frozen and taken up again reported a step that it had reported before."""
METRICS = "wandbsweep:metrics"
"""The last value of each metric of an open attempt, if the storage keeps them; an ``OUTCOME`` has the final ones."""


ClaimKind = Literal["continue", "retry", "thaw"]
_FOLLOWING: Mapping[State, ClaimKind] = {"queued": "continue", "frozen": "thaw", "failed": "retry", "crashed": "retry"}
"""By state of a trial, which claims of its next attempt count."""


class Claim(TypedDict):
    """The attribute that an attempt is created with."""

    agent: str
    number: int | None
    """None: a new trial."""
    attempt: int
    cap: int | None
    """How many trials there may be in all, as far as the claimant knew."""
    retry: NotRequired[bool]
    """Whether this is a user's retry of a trial that failed or crashed."""
    thaw: NotRequired[bool]
    """Whether it takes up a frozen trial again, which only ``early_terminate: {type: thaw}`` does."""
    owner: NotRequired[str | None]
    """The owner of the lease that holds the attempt. None: in memory, where there are no leases."""
    job: NotRequired[str]
    """The scheduler's name of the agent's job, if there is one."""


class StoredParams(TypedDict):
    """The attribute that holds an attempt's parameters.

    A new attempt is created with the parameters of the number that it is expected to win. If it wins another one, they
    do not count and are replaced.
    """

    number: int
    values: dict[str, Any]
    """Encoded by the JSON codec."""


@dataclass(slots=True)
class TrialEntry:
    """One trial: how many valid attempts it has, and the newest of them as stored."""

    number: int
    attempts: int
    started: float | None
    newest: StoredAttempt
    outcome: StoredOutcome | None = None
    """Of the newest attempt; None: it is open."""
    record: TrialRecord | None = None
    """Made on demand, and dropped when the newest attempt changes."""
    lost: set[int] = field(default_factory=set)
    """Which of its attempts, counted from 1, ended with their process since the trial was last retried."""
    work: dict[int, float] = field(default_factory=dict)
    """By attempt that has ended, counted from 1, how many seconds it ran."""
    retries: int = 0
    """How many of its attempts are users' retries, which no agent ran."""
    thaws: int = 0
    """How many of its attempts took it up again after it was frozen."""
    frozen_at: int | None = None
    """The highest step that it had reported when it was last frozen; None: it never was."""
    repeated: bool = False
    """Whether one of its attempts has ``REPEATED``."""
    claims: dict[int, StoredAttempt] = field(default_factory=dict)
    """By key, in the storage's order: claims of later attempts, undecided while the newest attempt is open."""

    @property
    def agent(self) -> str:
        """The agent of the newest attempt."""
        return read_claim(self.newest)["agent"]

    @property
    def owner(self) -> str | None:
        """The owner of the lease that holds, or held, the newest attempt."""
        return read_claim(self.newest).get("owner")

    @property
    def job(self) -> str:
        """The scheduler's name of the job that the newest attempt's agent is part of; empty: there is none."""
        return read_claim(self.newest).get("job", "")

    @property
    def state(self) -> State:
        return self.outcome.state if self.outcome else "running"

    @property
    def has_params(self) -> bool:
        """Whether its parameters are chosen."""
        stored: StoredParams | None = self.newest.attributes.get(PARAMS)
        return stored is not None and stored["number"] == self.number

    @property
    def params(self) -> dict[str, Any]:
        """Empty while they are not chosen."""
        return decode_json(self.newest.attributes[PARAMS]["values"]) if self.has_params else {}

    def snapshot(self) -> TrialEntry:
        """Return a copy that does not change with the table."""
        return replace(self, lost=set(self.lost), work=dict(self.work))


def read_outcome(attempt: StoredAttempt) -> StoredOutcome:
    """Read how a closed attempt ended. If another program closed it, it counts as crashed."""
    stored = attempt.attributes.get(OUTCOME)
    return StoredOutcome.decode(stored) if stored else StoredOutcome("crashed", "closed by another program")


def measure_work(attempt: StoredAttempt, outcome: StoredOutcome) -> float:
    """Return how many seconds a closed attempt ran."""
    if outcome.worked_s is not None:
        return outcome.worked_s
    return attempt.ended - attempt.started if attempt.ended and attempt.started else 0.0


def read_claim(attempt: StoredAttempt) -> Claim:
    claim: Claim = attempt.attributes[CLAIM]
    return claim


def classify_claim(claim: Claim) -> ClaimKind:
    """Return what a claim of a trial that is there already does with it."""
    return "retry" if claim.get("retry") else "thaw" if claim.get("thaw") else "continue"


def find_next_claim(entry: TrialEntry) -> StoredAttempt | None:
    """Return the claim that follows the newest attempt of ``entry``, now that it is closed; None: there is none yet."""
    wanted = _FOLLOWING.get(entry.state)
    for attempt in entry.claims.values():
        claim = read_claim(attempt)
        if claim["attempt"] == entry.attempts + 1 and classify_claim(claim) == wanted:
            return attempt
    return None


def make_record(entry: TrialEntry, goal: str, rule: ValueRule) -> TrialRecord:
    """Return what others may know of a trial.

    Args:
        entry: The trial.
        goal: The metric's goal, which decides the value of a trial that has not ended.
        rule: Which of the reported values is the trial's own.
    """
    attempt, outcome = entry.newest, entry.outcome
    ended = outcome if outcome and outcome.state != "queued" else None
    return TrialRecord(
        number=entry.number,
        state=entry.state,
        params=entry.params,
        reports=attempt.reports,
        value=ended.value if ended else choose_value(attempt.reports, goal, rule),
        metrics=outcome.metrics if outcome else attempt.attributes.get(METRICS, {}),
        reason=outcome.reason if outcome else "",
        cause=outcome.cause if outcome else "",
        attempts=entry.attempts - entry.retries - entry.thaws,
        thaws=entry.thaws,
        repeated=entry.repeated,
        agent=entry.agent,
        started=entry.started,
        ended=attempt.ended if ended else None,
        resumed=attempt.started,
        worked_s=sum(entry.work.values()) if entry.work else None,
    )
