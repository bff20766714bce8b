"""``early_terminate: {type: thaw}``, an extension: trials are frozen early, and the promising ones are thawed.

A frozen trial keeps its checkpoint. At each rung, an iteration ``eta`` times as far as the one before, a trial is
frozen, unless an agent that asked now would take up this very trial. So one decision does both: what is worth the next
epochs, a new trial or one of the frozen ones? ``bayes.arms`` answers it with the model over configurations and
iterations. After freeze-thaw Bayesian optimisation (Swersky, Snoek, Adams 2014); the geometric steps are those of
successive halving (Karnin, Koren, Somekh 2013), because a thaw costs a start and a checkpoint.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord

ETA = 2.0
FIRST = 1 / 16
"""The first rung is at no less than this share of a whole trial."""
LAST = 0.75
"""Beyond this share of a whole trial nothing is frozen: that would save little."""
BLIND = 4
"""While it is not known how long a whole trial is, nothing is frozen before this many iterations."""


@dataclass(frozen=True)
class Thawing:
    """Decides which trials are frozen and which are thawed; a pure function of the sweep and its trials.

    An iteration is a report of the metric.
    """

    spec: SweepSpec

    def is_rung(self, length: int) -> bool:
        """Return whether a trial may be frozen after `length` reports; so most reports need no ``reason_to_freeze``."""
        return length in list_rungs(self._settings, length)

    def reason_to_freeze(self, number: int, trials: Sequence[TrialRecord]) -> str | None:
        """Return why trial `number`, which has just reported, is frozen; None: it continues.

        Args:
            number: A running trial.
            trials: All trials.
        """
        trial = next(t for t in trials if t.number == number)
        length = len(trial.reports)
        whole = find_whole_length(trials, self._settings.max_iter)
        if whole is None and number == min(t.number for t in trials if t.state == "running"):
            return None  # the first trial shows how long a whole one is
        if length not in self._list_rungs(trials)[:-1]:
            return None
        frozen = [replace(t, state="frozen") if t.number == number else t for t in trials]
        if self.choose(frozen, may_start=True) == number:
            return None
        return f"thaw: after {length} iterations a new or another trial is worth more"

    def choose(self, trials: Sequence[TrialRecord], *, may_start: bool) -> int | None:
        """Return the frozen trial that an agent takes up next.

        Args:
            trials: All trials.
            may_start: Whether a new trial may be started instead.

        Returns:
            Its number. None: a new trial is worth more, or, if none may be started, no frozen trial is worth its
            epochs.
        """
        if not any(trial.state == "frozen" and trial.value is not None for trial in trials):
            return None
        from wandbsweep.search.bayes.arms import choose_arm

        return choose_arm(self.spec, trials, self._list_rungs(trials), may_start=may_start)

    @property
    def _settings(self) -> EarlyTerminate:
        return self.spec.early_terminate or EarlyTerminate("thaw")

    def _list_rungs(self, trials: Sequence[TrialRecord]) -> list[int]:
        """Return the rungs, and after them the length of a whole trial, as far as it is known."""
        whole = find_whole_length(trials, self._settings.max_iter)
        longest = max((len(trial.reports) for trial in trials), default=1)
        if whole is None:
            rungs = list_rungs(self._settings, max(longest, 1))
            least = self._settings.min_iter or max(BLIND, FIRST * longest)
            return [*(r for r in rungs if least <= r), 2 * longest]
        least = self._settings.min_iter or FIRST * whole
        return [*(r for r in list_rungs(self._settings, whole) if least <= r <= LAST * whole), max(whole, longest)]


def list_rungs(settings: EarlyTerminate, longest: int) -> list[int]:
    """Return the iterations at which trials may be frozen: ``min_iter`` (or 1) times the powers of ``eta``.

    >>> list_rungs(EarlyTerminate("thaw", eta=2), 52)
    [1, 2, 4, 8, 16, 32]
    """
    found, at = [], float(settings.min_iter or 1)
    while round(at) <= longest:
        found.append(round(at))
        at = max(at * (settings.eta or ETA), at + 1)
    return found


def find_whole_length(trials: Sequence[TrialRecord], max_iter: int | None) -> int | None:
    """Return how many reports a whole trial makes; None: that is not known, because none has finished."""
    lengths = [len(trial.reports) for trial in trials if trial.state == "finished" and trial.reports]
    return max_iter or (int(statistics.median_high(lengths)) if lengths else None)
