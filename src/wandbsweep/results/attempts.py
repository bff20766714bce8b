"""Every execution of every trial, with its times: what stands in the store beyond the trials themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wandbsweep.trial import State

if TYPE_CHECKING:
    from wandbsweep.results.load import SweepResults


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
    """The attempts in the order of their starts; where the store is not there any more, the last of each trial."""
    found = list(_stored(results)) or [
        Attempt(t.number, t.attempts, t.agent, t.state, t.started, t.ended, t.reason)
        for t in results.trials
        if t.started is not None
    ]
    return sorted(found, key=lambda attempt: (attempt.started, attempt.number))


def _stored(results: SweepResults) -> Iterator[Attempt]:
    from wandbsweep.controllers.ledger import CLAIM, Ledger, outcome_of
    from wandbsweep.controllers.store import JOURNAL, open_storage
    from wandbsweep.sweepdir import storage_of

    url, study_name = storage_of(results.directory, results.plan)
    if url is None and not (results.directory / JOURNAL).is_file():
        return
    storage = open_storage(results.directory, url)
    try:
        study = storage.get_study_id_from_name(study_name)
    except KeyError:
        return
    stored = storage.get_all_trials(study, deepcopy=False)
    ledger = Ledger(results.spec.goal)
    ledger.update(stored)
    by_number = {trial.number: trial for trial in results.trials}
    for trial in stored:
        number = ledger.number_of(trial._trial_id)
        if number is None or trial.datetime_start is None:
            continue
        claim = trial.system_attrs[CLAIM]
        ended = trial.datetime_complete.timestamp() if trial.datetime_complete else None
        done = trial.state.is_finished()
        outcome = outcome_of(trial) if done else None
        running: State = by_number[number].state if number in by_number else "running"
        yield Attempt(
            number,
            claim["attempt"],
            claim["agent"],
            outcome["state"] if outcome else running,
            trial.datetime_start.timestamp(),
            ended,
            outcome["reason"] if outcome else "",
        )
