"""Decides which running trials to freeze, and which frozen ones to continue (``early_terminate: {type: thaw}``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord, is_number


@dataclass(frozen=True)
class Thawing:
    """Asynchronous successive halving with promotion (Li et al. 2020)."""

    spec: SweepSpec

    def is_rung(self, length: int) -> bool:
        return length in self._rungs(length)

    def reason_to_freeze(self, number: int, trials: Sequence[TrialRecord]) -> str | None:
        length = len(_finite(trials[number]))
        if number in self._best_at(length, trials):
            return None
        return f"thaw: not among the best 1/{self._settings.eta:g} at iteration {length}"

    def choose(self, trials: Sequence[TrialRecord], *, may_start: bool) -> int | None:
        longest = max(len(trial.reports) for trial in trials)
        for rung in reversed(list(self._rungs(longest))):
            for number in self._best_at(rung, trials):
                if trials[number].state == "frozen" and len(_finite(trials[number])) == rung:
                    return number
        return None

    @property
    def _settings(self) -> EarlyTerminate:
        assert self.spec.early_terminate is not None
        return self.spec.early_terminate

    def _rungs(self, upto: int) -> Iterator[int]:
        rung = float(self._settings.min_iter or 1)
        while rung <= upto:
            yield int(rung)
            rung *= self._settings.eta

    def _best_at(self, rung: int, trials: Sequence[TrialRecord]) -> list[int]:
        sign = -1.0 if self.spec.goal == "maximize" else 1.0
        reached = [t for t in trials if len(_finite(t)) >= rung]
        ranked = sorted(reached, key=lambda t: (min(sign * v for v in _finite(t)[:rung]), t.number))
        return [t.number for t in ranked[: int(len(ranked) / self._settings.eta)]]


def _finite(trial: TrialRecord) -> list[float]:
    return [value for value in trial.history if is_number(value)]
