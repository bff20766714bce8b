"""Every execution of every trial, for the report's timeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wandbsweep.controllers.trial_table import CLAIM, read_outcome
from wandbsweep.trial import State

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import StoredSweep, SweepData


@dataclass(frozen=True)
class AttemptSpan:
    """When one execution of a trial ran, and on which agent."""

    number: int
    attempt: int
    """Counts from 1."""
    agent: str
    state: State
    """``queued``: it was released, and another attempt follows."""
    started: float
    ended: float | None
    """Unix times, in seconds; ``ended`` is None if the attempt is open."""
    reason: str = ""


def list_attempts(data: SweepData) -> list[AttemptSpan]:
    """Return all attempts in the order of their starts. Without a storage only the last one of each trial is known."""
    found = list(_list_stored_attempts(data, data.stored)) if data.stored else []
    found = found or [
        AttemptSpan(t.number, t.attempts, t.agent, t.state, t.started, t.ended, t.reason)
        for t in data.trials
        if t.started is not None
    ]
    return sorted(found, key=lambda attempt: (attempt.started, attempt.number))


def _list_stored_attempts(data: SweepData, stored: StoredSweep) -> Iterator[AttemptSpan]:
    by_number = {trial.number: trial for trial in data.trials}
    for attempt in stored.attempts:
        number = stored.table.find_number(attempt.key)
        if number is None or attempt.started is None:
            continue
        claim = attempt.attributes[CLAIM]
        outcome = read_outcome(attempt) if attempt.closed else None
        open_state: State = by_number[number].state if number in by_number else "running"
        yield AttemptSpan(
            number,
            claim["attempt"],
            claim["agent"],
            outcome.state if outcome else open_state,
            attempt.started,
            attempt.ended,
            outcome.reason if outcome else "",
        )
