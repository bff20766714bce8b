"""Every execution of every trial, with its times: what stands in the store beyond the trials themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wandbsweep.trial import State

if TYPE_CHECKING:
    from wandbsweep.results.sweep_results import SweepResults


@dataclass(frozen=True)
class Attempt:
    """One execution of a trial."""

    number: int
    attempt: int
    """Counts from 1."""
    agent: str
    state: State
    """``queued``: it was given back, and another attempt follows."""
    started: float
    ended: float | None
    """Unix times, in seconds; None: it runs, or was lost."""
    reason: str = ""


def attempts_of(results: SweepResults) -> list[Attempt]:
    """The attempts in the order of their starts; where they were not read from a store, the last of each trial."""
    found = list(_stored(results)) or [
        Attempt(t.number, t.attempts, t.agent, t.state, t.started, t.ended, t.reason)
        for t in results.trials
        if t.started is not None
    ]
    return sorted(found, key=lambda attempt: (attempt.started, attempt.number))


def _stored(results: SweepResults) -> Iterator[Attempt]:
    from wandbsweep.controllers.trial_table import CLAIM, outcome_of

    if results.stored is None:
        return
    by_number = {trial.number: trial for trial in results.trials}
    for attempt in results.stored.attempts:
        number = results.stored.ledger.number_of(attempt._trial_id)
        if number is None or attempt.datetime_start is None:
            continue
        claim = attempt.system_attrs[CLAIM]
        ended = attempt.datetime_complete.timestamp() if attempt.datetime_complete else None
        outcome = outcome_of(attempt) if attempt.state.is_finished() else None
        running: State = by_number[number].state if number in by_number else "running"
        yield Attempt(
            number,
            claim["attempt"],
            claim["agent"],
            outcome["state"] if outcome else running,
            attempt.datetime_start.timestamp(),
            ended,
            outcome["reason"] if outcome else "",
        )
