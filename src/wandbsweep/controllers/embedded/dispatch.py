"""Decides what an agent gets when it asks: a queued trial, a lost one, a new one, or none."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from wandbsweep.controllers.completion import Completion, describe_command, find_completion
from wandbsweep.controllers.embedded.bad_nodes import find_bad_node
from wandbsweep.controllers.embedded.claims import Claims
from wandbsweep.controllers.embedded.closing import Closer
from wandbsweep.controllers.embedded.control_requests import ControlRequests
from wandbsweep.controllers.embedded.lease_expiry import LeaseManager
from wandbsweep.controllers.embedded.snapshot import TrialSnapshot
from wandbsweep.controllers.trial_table import TrialEntry, TrialTable
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import ControllerOptions
from wandbsweep.trial import Trial

_WAIT_S = 0.25
"""How long an agent that has to wait sleeps before it checks again."""


@dataclass
class Dispatcher:
    """Gives out trials to the agents of this process."""

    spec: SweepSpec
    snapshot: TrialSnapshot
    claims: Claims
    leases: LeaseManager
    closer: Closer
    requests: ControlRequests
    options: ControllerOptions
    waited_until: float = -math.inf
    """When an agent of this process last had to wait for a trial (monotonic)."""

    def claim_next(self, agent: str) -> Trial | None:
        """Claim the next trial; None: there are no more. Its parameters are empty if they are still to be proposed.

        The call waits while the sweep is paused, and while other agents' trials may be lost.
        """
        is_final = False
        while True:
            if self.requests.read_recent() == "paused":
                self._wait()
                continue
            unfinished, completion = self._find_unfinished(agent)
            if completion is not None:
                if is_final:
                    return None
                is_final = self.is_ready(agent)  # and check once more, because this call may have found a lost trial
                if not is_final:
                    self._wait()
                continue
            is_lost = unfinished is not None and unfinished.state == "running"
            if unfinished and is_lost and len(unfinished.lost) + 1 >= self.options.max_attempts:
                self.closer.close_expired(unfinished, final=True)
                continue
            trial = self.claims.continue_trial(agent, unfinished) if unfinished else self.claims.open_new(agent)
            if trial is not None:  # otherwise another agent was faster
                return trial

    def is_ready(self, agent: str) -> bool:
        """Whether ``claim_next`` answers at once.

        It waits if the sweep is paused. It also waits if only trials of other agents are left and it is not known yet
        whether these agents live: if they do not, this agent has to take their trials over.
        """
        if self.requests.read() == "paused":
            return False
        with self.snapshot.refresh() as table:
            completion = self._find_completion(table, agent, self.leases.find_expired(table))
        if completion is None or not completion.exhausted:
            return True
        return self.leases.has_live_agents() is not None

    def completion(self) -> Completion | None:
        """Return why no agent gets more trials; None: there are more."""
        self.requests.read()
        with self.snapshot.refresh() as table:
            return self._find_completion(table, None, self.leases.find_expired(table))

    def close_orphans(self) -> None:
        """Close the trials whose agents vanished. No agent takes them over, because the sweep is over."""
        while True:
            with self.snapshot.refresh() as table:
                entry = self.leases.find_expired(table)
                orphan = entry.freeze() if entry else None
            if orphan is None:
                return
            self.closer.close_expired(orphan, final=True)

    def _find_unfinished(self, agent: str) -> tuple[TrialEntry | None, Completion | None]:
        """Return a trial for ``agent`` to continue, or why it gets no trial at all. If neither, it gets a new one."""
        with self.snapshot.refresh() as table:
            entry = table.find_queued(agent) or self.leases.find_expired(table)
            completion = self._find_completion(table, agent, entry)
            if completion is not None and completion.exhausted:
                entry = self.claims.find_uncommitted(table)
                completion = None if entry else completion
            return entry.freeze() if entry else None, completion

    def _find_completion(
        self, table: TrialTable, agent: str | None, unfinished: TrialEntry | None
    ) -> Completion | None:
        """Return why ``agent`` gets no trial. ``unfinished``: a trial that it could continue."""
        completion = find_completion(
            table,
            self.spec,
            called_off=describe_command(self.requests.last),
            max_failures=self.options.max_failures,
            forgiven=self.requests.forgiven,
            cap=self.claims.cap,
            agent=agent,
        )
        if completion is not None and not completion.exhausted:
            return completion
        bad_node = find_bad_node(table, agent) if agent is not None else None
        return bad_node or (None if unfinished else completion)

    def _wait(self) -> None:
        self.claims.storage.release_connection()
        time.sleep(_WAIT_S)
        self.waited_until = time.monotonic()
