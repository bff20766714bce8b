"""Claims trials: an agent gets a trial by creating an attempt that wins it (see ``trial_table``).

Nothing is locked, and this process may be killed between any two statements. What it then leaves behind:

- Before the attempt is created: nothing.
- After it is created: an open attempt with this process's lease, perhaps without parameters. When the lease expires,
  another agent takes the trial over.
- After a claim of a lost trial is created, but before the lost attempt is closed: the lost attempt is still open, and
  its lease has expired. The next agent claims the same attempt number and closes the lost attempt. Then the first of
  the two claims wins. If that is the dead agent's, its lease expires in turn.
- Before a void attempt is closed: the void attempt, which no agent reads.

An *uncommitted claim* is an attempt that this process created without knowing it, because the connection to the
database broke before the answer arrived. The process's lease is alive, so no other agent takes the attempt over. This
process has to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wandbsweep.controllers.embedded.closing import Closer
from wandbsweep.controllers.embedded.lease_expiry import LeaseManager
from wandbsweep.controllers.embedded.proposals import Proposals
from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.outcome import StoredOutcome
from wandbsweep.controllers.trial_entry import CLAIM, OUTCOME, Claim, TrialEntry
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.launchers import read_job_id
from wandbsweep.storage.base import NewAttempt
from wandbsweep.trial import Trial

_POLL_S = 0.02


@dataclass
class Claims:
    """Claims trials for the agents of this process."""

    study: Study
    proposals: Proposals
    leases: LeaseManager
    closer: Closer
    cap: int | None
    """How many trials there may be in all."""

    def open_new(self, agent: str) -> Trial | None:
        """Claim the next number; None: other agents were faster, and took the last one.

        The number is predicted from the count of attempts so far. If the parameters follow from the number, they are
        stored with the claim, so that the other agents read one record instead of two. The prediction may be wrong,
        because an attempt that opened no trial came in between. Then the parameters are replaced.
        """
        with self.study.refresh() as table:
            entries, attempts = len(table.entries), table.attempts

        def build(created: int) -> NewAttempt:
            predicted = entries + max(created - attempts, 0)
            within_cap = self.cap is None or predicted < self.cap
            params = self.proposals.search.draw(predicted) if within_cap else None
            stored, shown = ({}, {}) if params is None else self.proposals.encode(predicted, params)
            return NewAttempt({CLAIM: self._sign(agent), **stored}, params=shown)

        return self._await_trial(self._create(build))

    def continue_trial(self, agent: str, entry: TrialEntry) -> Trial | None:
        """Claim the next attempt of a trial; None: another agent was faster, or the trial has ended after all.

        ``entry`` is the trial as it was when the decision to continue it was made.
        """
        attempt = entry.attempts + 1
        claim = self._sign(agent, number=entry.number, attempt=attempt)
        if entry.state == "frozen":
            claim["thaw"] = True
        new = self._make_next(entry, claim)
        key = self._create(lambda _: new)
        if entry.state == "running":
            # The claim comes first, so that the trial always has an owner. It is decided when the attempt is closed.
            self.leases.close_expired(entry)
        if trial := self._await_trial(key, attempt):
            self.closer.metrics[key] = dict(entry.outcome.metrics) if entry.outcome else {}
        return trial

    def retry(self, entry: TrialEntry) -> None:
        """Queue a failed or crashed trial again; nothing happens if another process does so first.

        An attempt that no agent runs says so. It counts as soon as it is created.
        """
        number, attempt = entry.number, entry.attempts + 1
        claim = Claim(agent=entry.agent, number=number, attempt=attempt, cap=self.cap, retry=True, owner=None)
        metrics = entry.outcome.metrics if entry.outcome else {}
        new = self._make_next(entry, claim, {OUTCOME: StoredOutcome("queued", "retried", metrics=metrics).encode()})
        self.closer.close_void(self.study.storage.create_attempt(self.study.key, lambda _: new))

    def _make_next(self, entry: TrialEntry, claim: Claim, attributes: Mapping[str, Any] | None = None) -> NewAttempt:
        """Return the next attempt of a trial, with the parameters and the reports of the one before."""
        stored, shown = self.proposals.encode(entry.number, entry.params) if entry.has_params else ({}, {})
        # What Optuna's pruners stored with the previous attempt.
        notes = {name: v for name, v in entry.newest.attributes.items() if not name.startswith("wandbsweep:")}
        return NewAttempt({**notes, CLAIM: claim, **stored, **(attributes or {})}, entry.newest.reports, shown)

    def find_uncommitted(self, table: TrialTable) -> TrialEntry | None:
        """Return a trial that this process has claimed without knowing it."""
        owner = self.leases.owner
        own = (entry for entry in table.running if owner is not None and entry.owner == owner)
        return next((entry for entry in own if entry.newest.key not in self.closer.open), None)

    def _sign(self, agent: str, *, number: int | None = None, attempt: int = 1) -> Claim:
        claim = Claim(agent=agent, number=number, attempt=attempt, cap=self.cap, owner=self.leases.owner)
        if job := read_job_id():
            claim["job"] = job
        return claim

    def _create(self, build: Callable[[int], NewAttempt]) -> int:
        self.leases.start()
        key = self.study.storage.create_attempt(self.study.key, build)
        self.closer.open.add(key)
        return key

    def _await_trial(self, key: int, attempt: int = 1) -> Trial | None:
        """Return the trial that the claim ``key`` won, without parameters if none were stored with the claim.

        None: it is void, and closed.
        """
        created_only = True
        while True:
            with self.study.refresh(created_only=created_only) as table:
                if table.is_decided(key):
                    number = table.find_number(key)
                    params = table.entries[number].params if number is not None else {}
                    break
            if not created_only:  # a database may show a later attempt before an earlier one
                self.study.storage.release_connection()
                time.sleep(_POLL_S)
            created_only = False  # a claim of a later attempt is decided when the previous attempt is closed
        if number is None:
            self.closer.close_void(key)
            return None
        return Trial(number, params, attempt=attempt, key=key)
