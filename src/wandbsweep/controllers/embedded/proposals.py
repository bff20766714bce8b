"""Proposes the parameters of trials, and stores them.

If parameters follow from a trial's number alone (grid, random), nothing has to be decided. With bayes, proposals are
made in the order of the trials' numbers, so that each one sees the earlier ones: two agents that propose from the same
trials would propose the same point.

A proposal takes a tenth of a second, or a second if a thousand trials have ended. So the last of hundreds of agents
that ask at once would wait for minutes. Therefore an agent that waits longer than two seconds, or that has many others
before it, does without the model: it takes one of the best trials and draws some of its parameters again
(``search.bayes.model.vary``). If two agents could make the same proposal at the same moment, each checks the others'
proposals after it has stored its own, and may replace its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.trial_entry import PARAMS, StoredParams
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.search.base import Search
from wandbsweep.spec.distributions import grid_key
from wandbsweep.storage.base import StoredParam
from wandbsweep.storage.json_codec import encode_json
from wandbsweep.storage.optuna_params import OptunaParams
from wandbsweep.trial import TrialRecord

PATIENCE_S = 2.0
"""How long an ask may take before it does without the model, if other agents ask at the same moment."""
QUEUE_LIMIT = 8
"""An agent with more others before it does without the model at once."""
LONG_QUEUE = 3 * QUEUE_LIMIT
"""If there were more than this a moment ago, the agent does not even count again."""
DEAD_S = 30.0
"""How long an agent that died before it proposed may hold up all others."""

_MAX_PROPOSALS = 10
"""How often a proposal that another agent made too is replaced. The limit is for spaces with nothing new left."""
_POLL_S, _MAX_POLL_S = 0.05, 0.5


class Proposals:
    """Proposes the parameters of the trials that this process claims."""

    def __init__(self, study: Study, search: Search) -> None:
        self.search = search
        self._study = study
        self._optuna_params = OptunaParams(study.spec.parameters)
        self._queue = ProposalQueue(study)

    def propose(self, key: int, number: int, asked_at: float) -> dict[str, Any]:
        """Propose and store the parameters of a trial.

        Args:
            key: Its attempt.
            number: Its number.
            asked_at: When its agent began to wait for it (monotonic).
        """
        params = self.search.draw(number)
        if params is not None:
            self._store(key, number, params)
            return params
        without_model = self._queue.await_turn(number, asked_at + PATIENCE_S)
        if not without_model:  # fitting the model takes a while
            self._study.storage.release_connection()
        with self._study.last() as table:  # as it was when the turn came
            known = _list_others(table, number)
        params = self.search.propose(number, known, without_model)
        self._store(key, number, params)
        return self._replace_duplicate(key, number, params, known, without_model) if self._can_recur(params) else params

    def _store(self, key: int, number: int, params: Mapping[str, Any]) -> None:
        self._study.storage.set_params(key, *self.encode(number, params))

    def encode(self, number: int, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, StoredParam]]:
        """Return how the parameters of trial ``number`` are stored: as attributes, and for Optuna's tools."""
        stored = StoredParams(number=number, values=encode_json(params))
        return {PARAMS: stored}, self._optuna_params.encode(params)

    def _replace_duplicate(
        self, key: int, number: int, params: dict[str, Any], known: Sequence[TrialRecord], without_model: bool
    ) -> dict[str, Any]:
        """Propose again while another agent, whose trial was not in ``known``, proposed the same.

        Of two agents that propose at the same moment at least one sees the other's proposal, because each stores its
        own before it checks.
        """
        for _ in range(_MAX_PROPOSALS):
            before = {grid_key(trial.params) for trial in known}
            with self._study.refresh() as table:
                known = _list_others(table, number)
            if grid_key(params) not in {grid_key(trial.params) for trial in known} - before:
                break
            params = self.search.propose(number, known, without_model)
            self._store(key, number, params)
        return params

    def _can_recur(self, params: Mapping[str, Any]) -> bool:
        """Whether two agents may propose the same, because values are listed or configurations are repeated."""
        space = self._study.spec.parameters
        return bool(self._study.spec.repeats) or not any(space[name].continuous for name in params if name in space)


class ProposalQueue:
    """The running trials without parameters, whose agents propose in the order of their numbers."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._dead: set[int] = set()
        """The trials that are no longer waited for."""
        self._first = -1
        self._first_since = 0.0

    def await_turn(self, number: int, patient_until: float) -> bool:
        """Wait until no trial before ``number`` is without parameters.

        Returns:
            Whether to propose without the model, because others wait too and this agent has waited, or would wait,
            too long.
        """
        waiting = self._list(self._study.last(), number)  # some of them may have proposed since
        if 0 < sum(other < number for other in waiting) <= LONG_QUEUE:
            waiting = self._list(self._study.refresh(), number)
        while ahead := sum(other < number for other in waiting):
            if ahead > QUEUE_LIMIT or time.monotonic() > patient_until:
                return True
            time.sleep(min(_POLL_S * ahead, _MAX_POLL_S))  # so short that connections are kept
            waiting = self._list(self._study.refresh(), number)
        return bool(waiting) and time.monotonic() > patient_until

    def _list(self, reading: AbstractContextManager[TrialTable], number: int) -> list[int]:
        """Return the other trials that have no parameters yet, without those whose agents died."""
        with reading as table:
            return self.drop_dead([e.number for e in table.running if e.number != number and not e.has_params])

    def drop_dead(self, waiting: Sequence[int]) -> list[int]:
        """Return ``waiting``, in order, without the trials that held up the others for too long."""
        alive = [number for number in waiting if number not in self._dead]
        if alive and alive[0] != self._first:
            self._first, self._first_since = alive[0], time.monotonic()
        elif alive and time.monotonic() - self._first_since > DEAD_S:
            self._dead.add(alive.pop(0))
        return alive


def _list_others(table: TrialTable, number: int) -> list[TrialRecord]:
    return [trial for trial in table.records() if trial.number != number]
