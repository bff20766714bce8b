"""How a trial gets its parameters, and where they are stored.

What follows from a trial's number alone (grid, random) needs no choice. bayes chooses in the order of the numbers, so
that each choice sees those before: two agents that chose from the same trials would choose the same point. But a
choice takes a tenth of a second, or one where a thousand trials have ended, and of hundreds of agents that ask at once
the last would wait for minutes. So an agent that waits longer than two seconds, or is far behind, does without the
model: it takes one of the best trials and draws some of its parameters anew (``bayes.vary``). Where that may come to
what another chose at the same moment, it looks again after it has stored its choice, and may store another one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from optuna.distributions import BaseDistribution

from wandbsweep.controllers.trial_table import PARAMS, StoredParams, TrialTable
from wandbsweep.search.base import Search
from wandbsweep.spec.distributions import grid_key
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.change_feed import View
from wandbsweep.storage.json_codec import decode_json, encode_json
from wandbsweep.storage.open import Store
from wandbsweep.storage.optuna_params import Mirror
from wandbsweep.trial import TrialRecord

PATIENCE_S = 2.0
"""How long an ask may take before it does without the model, where others ask at the same moment."""
QUEUE = 8
"""Whoever has more before it need not wait that long to know."""
CROWD = 3 * QUEUE
"""Where so many seemed to be before it a moment ago, it need not even look again."""
DEAD_S = 30.0
"""An agent that died while it chose must not hold up the others for longer than this, taken together."""

_AGAIN = 10
"""So often one chooses anew at most: a space may have nothing else left."""
_POLL_S, _LONGEST_POLL_S = 0.05, 0.5


class Chooser:
    """Chooses for the agents of one process, from what ``view`` shows."""

    def __init__(self, spec: SweepSpec, search: Search, storage: Store, view: View) -> None:
        self._spec = spec
        self._search = search
        self._storage = storage
        self._view = view
        self._mirror = Mirror(spec.parameters)
        self._turns = Turns()

    @property
    def size(self) -> int | None:
        """How many trials there are to give out; None: no end."""
        return self._search.size

    def draw(self, number: int) -> dict[str, Any] | None:
        """The parameters of trial ``number``, where they follow from the number; else None."""
        return self._search.draw(number)

    def mirrored(self, stored: StoredParams) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """What is stored as Optuna's values, and their distributions."""
        return self._mirror.of(decode_json(stored["values"]))

    def choose(self, key: int, number: int, asked: float) -> dict[str, Any]:
        """The parameters of trial ``number``, stored in its attempt ``key``; ``asked``: since when (monotonic) an agent
        waits for them."""
        params = self._search.draw(number)
        if params is not None:
            self._store(key, number, params)
            return params
        without_model = self._await_turn(number, asked + PATIENCE_S)
        if not without_model:  # a model takes its time
            self._storage.let_go()
        with self._view.last() as ledger:  # as it was when the turn came
            known = _others(ledger, number)
        params = self._search.propose(number, known, without_model)
        self._store(key, number, params)
        return (
            self._unlike_others(key, number, params, known, without_model) if self._may_come_again(params) else params
        )

    def _store(self, key: int, number: int, params: Mapping[str, Any]) -> None:
        values, distributions = self._mirror.of(params)
        mirror = {name: (of.to_internal_repr(values[name]), of) for name, of in distributions.items()}
        self._storage.choose(key, {PARAMS: stored_params(number, params)}, mirror)

    def _unlike_others(
        self, key: int, number: int, params: dict[str, Any], known: Sequence[TrialRecord], without_model: bool
    ) -> dict[str, Any]:
        """Choose anew while another, that was not ``known``, came to the same. Of two that chose at the same moment one
        sees the other at least, as each looks after it has stored its own."""
        for _ in range(_AGAIN):
            before = set(map(_key, known))
            with self._view.now() as ledger:
                known = _others(ledger, number)
            if _key(params) not in set(map(_key, known)) - before:
                break
            params = self._search.propose(number, known, without_model)
            self._store(key, number, params)
        return params

    def _may_come_again(self, params: Mapping[str, Any]) -> bool:
        """Whether two that choose at the same moment may come to the same: of listed values, or of the seeds of one
        configuration."""
        space = self._spec.parameters
        return bool(self._spec.repeats) or not any(space[name].continuous for name in params if name in space)

    def _await_turn(self, number: int, patient_until: float) -> bool:
        """Wait until no trial before ``number`` is without parameters, or that takes too long; returns whether to do
        without the model, since there are others that choose and this one is late already, or would be."""
        choosing = self._choosing(self._view.last(), number)  # of whom some may have chosen since
        if 0 < sum(other < number for other in choosing) <= CROWD:
            choosing = self._choosing(self._view.now(), number)
        while ahead := sum(other < number for other in choosing):
            if ahead > QUEUE or time.monotonic() > patient_until:
                return True
            time.sleep(min(_POLL_S * ahead, _LONGEST_POLL_S))  # so short that connections are kept
            choosing = self._choosing(self._view.now(), number)
        return bool(choosing) and time.monotonic() > patient_until

    def _choosing(self, view: AbstractContextManager[TrialTable], number: int) -> list[int]:
        """The other trials that have no parameters yet."""
        with view as ledger:
            without = [entry.number for entry in ledger.running if entry.number != number and not entry.has_params]
            return self._turns.alive(without)


class Turns:
    """Who still chooses, as one process sees it."""

    def __init__(self) -> None:
        self._dead: set[int] = set()
        self._first = -1
        self._since = 0.0

    def alive(self, choosing: Sequence[int]) -> list[int]:
        """Those of the trials ``choosing``, in order, that are not given up."""
        alive = [number for number in choosing if number not in self._dead]
        if alive and alive[0] != self._first:
            self._first, self._since = alive[0], time.monotonic()
        elif alive and time.monotonic() - self._since > DEAD_S:
            self._dead.add(alive.pop(0))
        return alive


def stored_params(number: int, params: Mapping[str, Any] | None) -> StoredParams | None:
    """The attribute that holds ``params``, chosen for trial ``number``; None: they are still to be chosen."""
    return None if params is None else StoredParams(number=number, values=encode_json(params))


def _others(ledger: TrialTable, number: int) -> list[TrialRecord]:
    return [trial for trial in ledger.records() if trial.number != number]


def _key(trial: TrialRecord | Mapping[str, Any]) -> Any:
    """What two of the same configuration have in common."""
    return grid_key(trial.params if isinstance(trial, TrialRecord) else trial)
