"""What early termination saved, and whether it stopped trials that it should not have."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wandbsweep.stopping.history import as_history
from wandbsweep.trial import TrialRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wandbsweep.results.sweep_data import SweepData

DOUBTFUL = 0.1
_LEAST = 3  # finished trials to judge by
_MOST = 1000  # curves of which every pair is compared


@dataclass(frozen=True)
class Savings:
    """Of the trials that were stopped early."""

    stopped: int
    whole: int | None
    """Steps that a whole trial takes: the median of the finished ones; None: none finished."""
    steps_saved: int
    share_saved: float
    """Of the steps that all trials would have taken."""
    seconds_saved: float
    chances: Mapping[int, float]
    """By trial: how often a finished trial improved by as much as this one was behind the best when it was stopped."""
    agreement: float | None
    """Kendall's tau between the finished trials' values at the usual stopping step and their final ones: 1 where early
    values already tell the order."""
    notes: tuple[str, ...]

    @property
    def doubtful(self) -> list[int]:
        """The trials that had a real chance of becoming the best, the likeliest first."""
        found = [number for number, chance in self.chances.items() if chance >= DOUBTFUL]
        return sorted(found, key=lambda number: -self.chances[number])

    @property
    def expected_mistakes(self) -> float:
        return sum(self.chances.values())


def compute_savings(data: SweepData) -> Savings:
    """What the stopped trials did not cost, against finished ones, and what they might have become.

    A stopped trial's chance is a plug-in estimate from the finished trials' own curves: the share of them that improved
    from the step at which it was stopped to their end by at least what it lacked to the best. Finished trials are the
    ones that were not stopped, so better than it was, and had less left to improve: the chance is rather too low.
    The agreement is Kendall's rank correlation (M. Kendall, Biometrika 30, 1938), the measure that K. Jamieson and
    A. Talwalkar's successive halving (AISTATS 2016) rests on: that early ranks foretell late ones.
    """
    sign = -1.0 if data.spec.goal == "maximize" else 1.0
    finished = [t for t in data.trials if t.state == "finished" and t.reports]
    stopped = [t for t in data.trials if t.state == "stopped"]
    if not stopped or not finished:
        note = "no trial was stopped" if not stopped else "no trial finished, so what a whole one takes is not known"
        return Savings(len(stopped), None, 0, 0.0, 0.0, {}, None, (note,))
    whole = int(statistics.median_high([len(t.reports) for t in finished]))
    saved = {t.number: max(0, whole - len(t.reports)) for t in stopped}
    pace = _seconds_per_step(finished, stopped)
    taken = sum(len(t.reports) for t in data.trials)
    curves = [sign * np.array(as_history(t.history)) for t in finished]
    ended_early = {t.number: sign * np.array(as_history(t.history)) for t in stopped}
    best = min((float(c.min()) for c in (*curves, *ended_early.values()) if len(c)), default=np.inf)
    chances = _chances(ended_early, curves, best)
    usual = int(statistics.median_low([len(t.reports) for t in stopped]))
    steps = sum(saved.values())
    return Savings(
        len(stopped),
        whole,
        steps,
        steps / (taken + steps) if taken + steps else 0.0,
        sum(pace * n for n in saved.values()),
        chances,
        _agreement(curves, usual),
        () if len(finished) >= _LEAST else (f"only {len(finished)} finished: too few to judge what was stopped",),
    )


def _seconds_per_step(finished: Sequence[TrialRecord], stopped: Sequence[TrialRecord]) -> float:
    """What a further step costs: starting a trial is paid for either way."""
    whole, part = (
        [(len(t.reports), t.duration_s) for t in trials if t.duration_s is not None and t.reports and t.attempts == 1]
        for trials in (finished, stopped)
    )
    if not whole or not part:
        return 0.0
    (steps, seconds), (fewer, less) = (
        [statistics.median(column) for column in zip(*t, strict=True)] for t in (whole, part)
    )
    return float(max(0.0, seconds - less) / (steps - fewer) if steps > fewer else seconds / steps)


def _chances(
    stopped: Mapping[int, NDArray[np.float64]], curves: Sequence[NDArray[np.float64]], best: float
) -> dict[int, float]:
    """By trial; of those with enough longer curves to compare with, and that are not the best as it is.

    Many trials are stopped after the same step.
    """
    improved: dict[int, NDArray[np.float64]] = {}
    found = {}
    for number, own in stopped.items():
        at = len(own)
        if not at or own.min() <= best:
            continue
        if at not in improved:
            improved[at] = np.array([curve[:at].min() - curve.min() for curve in curves if len(curve) > at])
        if len(improved[at]) >= _LEAST:
            found[number] = float(np.mean(improved[at] >= own.min() - best))
    return found


def _agreement(curves: Sequence[NDArray[np.float64]], step: int) -> float | None:
    longer = [curve for curve in curves if len(curve) > step >= 1][:_MOST]
    if len(longer) < _LEAST + 2:
        return None
    early, late = np.array([c[step - 1] for c in longer]), np.array([c.min() for c in longer])
    signs = np.sign(early[:, None] - early) * np.sign(late[:, None] - late)
    above = np.triu_indices(len(longer), 1)
    both = np.sqrt((early[:, None] != early)[above].sum() * (late[:, None] != late)[above].sum())
    return float(signs[above].sum() / both) if both else None
