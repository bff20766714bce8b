"""Savings: what early termination saved, and whether it stopped trials that it should not have."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wandbsweep.results.analysis.trial_matrix import Floats
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.stopping.history import as_history
from wandbsweep.trial import TrialRecord

DOUBTFUL_CHANCE = 0.1
"""A stopped trial with at least this chance of becoming the best is doubtful."""
_MIN_FINISHED = 3
"""With fewer finished trials, the stopped ones are not judged."""
_MAX_CURVES = 1000
"""If there are more curves, only the first ones are compared."""


@dataclass(frozen=True)
class Savings:
    """What the trials that were stopped early saved, and may have cost."""

    stopped: int
    full_steps: int | None
    """The number of steps of a whole trial: the median of the finished ones; None if none finished."""
    steps_saved: int
    share_saved: float
    """The share of the steps that all trials would have taken."""
    seconds_saved: float
    chances: Mapping[int, float]
    """By trial, its chance of becoming the best: the share of finished trials that improved by as much as it lacked."""
    agreement: float | None
    """Kendall's tau between the finished trials' values at the usual stopping step and their final ones: 1 if the
    early values already tell the order."""
    notes: tuple[str, ...]

    @property
    def doubtful(self) -> list[int]:
        """The trials that had a real chance of becoming the best, the likeliest first."""
        found = [number for number, chance in self.chances.items() if chance >= DOUBTFUL_CHANCE]
        return sorted(found, key=lambda number: -self.chances[number])

    @property
    def expected_mistakes(self) -> float:
        return sum(self.chances.values())


def compute_savings(data: SweepData) -> Savings:
    """Return what stopping the trials saved, compared with finished ones, and whether they might have become the best.

    A stopped trial's chance is estimated from the finished trials' own curves: the share of them that improved, from
    the step at which it was stopped to their end, by at least what it lacked to the best. The finished trials were not
    stopped, so they were better than it was and had less left to improve. So the chance is probably too low.
    """
    sign = data.spec.sign
    finished = [t for t in data.trials if t.state == "finished" and t.reports]
    stopped = [t for t in data.trials if t.state in ("stopped", "frozen")]
    if not stopped or not finished:
        note = "no trial finished, so what a whole one takes is not known" if stopped else "no trial was stopped"
        return Savings(len(stopped), None, 0, 0.0, 0.0, {}, None, (note,))
    full_steps = int(statistics.median_high([len(t.reports) for t in finished]))
    saved = [max(0, full_steps - len(t.reports)) for t in stopped]
    steps_saved = sum(saved)
    steps_taken = sum(len(t.reports) for t in data.trials)
    pace = _compute_seconds_per_step(finished, stopped)
    curves = [sign * np.array(as_history(t.history)) for t in finished]
    stopped_curves = {t.number: sign * np.array(as_history(t.history)) for t in stopped}
    too_few = f"only {len(finished)} finished: too few to judge what was stopped"
    return Savings(
        stopped=len(stopped),
        full_steps=full_steps,
        steps_saved=steps_saved,
        share_saved=steps_saved / (steps_taken + steps_saved) if steps_taken + steps_saved else 0.0,
        seconds_saved=sum(pace * steps for steps in saved),
        chances=_compute_chances(stopped_curves, curves),
        agreement=compute_agreement(curves, step=int(statistics.median_low([len(t.reports) for t in stopped]))),
        notes=() if len(finished) >= _MIN_FINISHED else (too_few,),
    )


def compute_agreement(curves: Sequence[Floats], step: int) -> float | None:
    """Return how well the order of the curves after ``step`` values predicts the order of their best values.

    It is Kendall's tau (M. Kendall, Biometrika 30, 1938). K. Jamieson and A. Talwalkar's successive halving (AISTATS
    2016) relies on such an agreement of early and final ranks. None if too few curves are longer than ``step``, or all
    their values are equal. Less is better in the curves.
    """
    from scipy.stats import kendalltau

    longer = [curve for curve in curves if len(curve) > step >= 1][:_MAX_CURVES]
    if len(longer) < _MIN_FINISHED + 2:
        return None
    tau = float(kendalltau([curve[step - 1] for curve in longer], [curve.min() for curve in longer]).statistic)
    return None if np.isnan(tau) else tau


def _compute_seconds_per_step(finished: Sequence[TrialRecord], stopped: Sequence[TrialRecord]) -> float:
    """Return what a further step costs: from the difference, since a stopped trial pays for its start as well."""
    whole, part = (
        [(len(t.reports), t.duration_s) for t in trials if t.duration_s is not None and t.reports and t.starts == 1]
        for trials in (finished, stopped)
    )
    if not whole or not part:
        return 0.0
    (steps, seconds), (fewer, less) = (
        [statistics.median(column) for column in zip(*t, strict=True)] for t in (whole, part)
    )
    return float(max(0.0, seconds - less) / (steps - fewer) if steps > fewer else seconds / steps)


def _compute_chances(stopped: Mapping[int, Floats], curves: Sequence[Floats]) -> dict[int, float]:
    """Return the chance of each stopped trial that is not the best as it is, and has enough longer curves to compare.

    Many trials are stopped after the same step, so the improvements from each step are computed once.
    """
    best = min((float(curve.min()) for curve in (*curves, *stopped.values()) if len(curve)), default=np.inf)
    improvements: dict[int, Floats] = {}
    found = {}
    for number, own in stopped.items():
        step = len(own)
        if not step or own.min() <= best:
            continue
        if step not in improvements:
            improvements[step] = np.array([c[:step].min() - c.min() for c in curves if len(c) > step])
        if len(improvements[step]) >= _MIN_FINISHED:
            found[number] = float(np.mean(improvements[step] >= own.min() - best))
    return found
