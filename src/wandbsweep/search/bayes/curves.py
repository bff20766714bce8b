"""The training set of the model: trials' best values so far, over the logarithm of the iterations, on a warped scale.

A trial's value is the best of its reports, so the model sees the best value so far. Everything here is to be minimised,
so this curve never rises, and it ends at the trial's value. (With ``metric.value: last`` it is the reports' own curve.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wandbsweep.search.bayes.gp import Observations
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.spec.sweep_spec import Metric
from wandbsweep.trial import ENDED, FAILED, SUCCEEDED, TrialRecord, ValueRule, is_number

Indices = NDArray[np.int64]

TEACHERS = 24
"""Early values are read from this many whole trials, and from three times as many others."""
FITTED = 220
"""Hyperparameters are fitted to about this many observations; the posterior is conditioned on all."""
GRID_RATIO = 2.5
"""A curve is read at its last iteration and at iterations this factor apart."""


@dataclass(frozen=True)
class Curve:
    """One trial's value after each of its reports."""

    best: Floats
    """(reports,): the best value so far, or by ``metric.value: last`` the newest; inf if it is not finite."""
    whole: bool
    """Whether it finished by itself, so that its last value is its final one."""
    ended: bool
    goes_on: bool
    """Whether its final value may still be seen: it runs, or it is frozen."""

    @property
    def value(self) -> float:
        return float(self.best[-1]) if len(self.best) else float("inf")


def read_curve(trial: TrialRecord, sign: float, rule: ValueRule = "best") -> Curve:
    numbers = [sign * float(v) if is_number(v) else np.inf for v in trial.history]
    ended = trial.state in ENDED
    if ended and trial.value is not None and is_number(trial.value):
        numbers = numbers or [np.inf]
        numbers[-1] = min(numbers[-1], sign * trial.value)
    curve = np.array(numbers, dtype=np.float64)
    best = np.minimum.accumulate(curve) if rule == "best" else curve
    return Curve(best, trial.state == "finished", ended, not ended or trial.state == "frozen")


def impute(trials: Sequence[TrialRecord], sign: float, metric: Metric) -> dict[int, float]:
    """Return the values that are assumed for failed trials, by position among `trials`.

    If the metric asks for it, running trials get one as well. The assumed value is the worst or the best value of any
    trial that ended (0 before the first has ended, as in W&B's engine), or the trial's own latest.

    Args:
        trials: All trials.
        sign: -1 to maximise the metric, 1 to minimise it.
        metric: What to impute.
    """
    ended = [sign * t.value for t in trials if t.state in SUCCEEDED and t.value is not None]
    common = {"worst": max(ended, default=0.0), "best": min(ended, default=0.0)}
    found = {}
    for position, trial in enumerate(trials):
        rule = metric.impute_while_running if trial.state not in ENDED else False
        if trial.state in FAILED:
            rule = metric.impute
        own = [sign * float(v) for v in trial.history if is_number(v)]
        if rule == "latest" and own:
            found[position] = own[-1]
        elif rule in common:
            found[position] = common[rule]
        elif trial.state in FAILED:
            found[position] = common["worst"]
    return found


@dataclass(frozen=True)
class Warp:
    """A monotone map of values to a scale that spreads good values apart and draws bad ones together.

    A power that is fitted to the values in place of the logarithm (Box and Cox 1964, as in HEBO) was no better.
    """

    best: float
    scale: float
    centre: float
    spread: float

    @classmethod
    def fit(cls, values: Floats) -> Warp:
        best, scale = float(values.min()), float(np.median(values) - values.min())
        if scale <= 0:
            scale = float(values.max() - best) or 1.0
        z = cls(best, scale, 0.0, 1.0)(values)
        return cls(best, scale, float(z.mean()), float(z.std()) or 1.0)

    def __call__(self, values: Floats) -> Floats:
        gap = np.clip((values - self.best) / self.scale, 0.0, 1e300)
        return np.asarray((np.log1p(gap) - self.centre) / self.spread)


def _list_milestones(length: int) -> list[int]:
    """Return the iterations at which to read a curve of `length` reports, ascending, the last one included."""
    found, at = [length], length / GRID_RATIO
    while at >= 1:
        found.append(round(at))
        at /= GRID_RATIO
    return sorted(set(found))


@dataclass(frozen=True)
class TrainingSet:
    """All that the model sees of a sweep."""

    x: Floats
    """(trials, columns)"""
    seen: Observations
    sample: Observations
    """Those of `seen` that the hyperparameters are fitted to."""
    pending: Indices
    """Rows of `x` whose final value is not known yet."""
    ranked: Indices
    """Rows of `x` with a value, best first."""
    unit: float
    """The distance from the best to the median value, on the warped scale as it is near the best value."""


def make_training_set(
    space: Space, trials: Sequence[TrialRecord], metric: Metric, *, failures_are_modelled: bool = False
) -> TrainingSet | None:
    """Make the training set of trials that have parameters; None: none of them has ended with a value yet.

    Args:
        space: The space.
        trials: The trials.
        metric: The metric, which says what failed trials count as.
        failures_are_modelled: Failed trials that would count as the worst are left out, because ``Success`` models
            them: a cliff in the values makes the model of all other values worse.
    """
    sign = metric.sign
    curves = [read_curve(trial, sign, metric.value) for trial in trials]
    failed = impute(trials, sign, metric)
    if failures_are_modelled and metric.impute == "worst":
        failed = {i: value for i, value in failed.items() if trials[i].state not in FAILED}
    values = {i: c.value for i, c in enumerate(curves) if np.isfinite(c.value) and i not in failed}
    ended = [i for i in values if curves[i].ended]
    if not ended:
        return None
    # Running trials do not shape the scale: their values are not final, and would move it at every report.
    warp = Warp.fit(np.array([values[i] for i in ended]))
    horizon = np.log(max(2, *(len(c.best) for c in curves)))
    ranked = np.array(sorted(values, key=lambda i: values[i]), dtype=np.int64)
    teachers = _pick_teachers(curves, ranked)
    trial, u, z = [], [], []
    for i, curve in enumerate(curves):
        length = len(curve.best)
        # u is the share of the log iterations that is left: 0 for a final value, imputed ones included.
        if i in failed:
            found = [(0.0, failed[i])]
        elif i not in values:
            continue
        else:
            places = _list_milestones(length) if i in teachers else [length]
            found = [
                (0.0 if curve.whole and at == length else 1 - np.log(at) / horizon, curve.best[at - 1])
                for at in places
                if np.isfinite(curve.best[at - 1])
            ]
        trial += [i] * len(found)
        u += [place for place, _ in found]
        z += [value for _, value in found]
    seen = Observations(np.array(trial), np.array(u), warp(np.array(z)))
    return TrainingSet(
        np.stack([space.encode(t.params) for t in trials]),
        seen,
        _pick_sample(seen, ranked),
        np.array([i for i, c in enumerate(curves) if c.goes_on and i not in failed], dtype=np.int64),
        ranked,
        1 / warp.spread,
    )


def _pick_teachers(curves: Sequence[Curve], ranked: Indices) -> set[int]:
    """Return the trials whose early values are read as well as their last one.

    There are none if every trial is whole, since then there is nothing to predict. Otherwise they are the best trials
    and some of the rest, evenly by rank: no more than the model has time for.
    """
    if all(curves[i].whole for i in ranked):
        return set()
    whole = [i for i in ranked.tolist() if curves[i].whole]
    partial = [i for i in ranked.tolist() if not curves[i].whole]
    return set(_pick_evenly(whole, TEACHERS) + _pick_evenly(partial, 3 * TEACHERS))


def _pick_evenly(items: list[int], count: int) -> list[int]:
    """Return `count` of the items: a third of them from the start, the others spread over the rest."""
    if len(items) <= count:
        return items
    first = count // 3
    rest = np.linspace(first, len(items) - 1, count - first).round().astype(int)
    return items[:first] + [items[k] for k in rest]


def _pick_sample(seen: Observations, ranked: Indices) -> Observations:
    """Return about `FITTED` observations to fit hyperparameters to, whole trials at a time."""
    if len(seen.z) <= FITTED:
        return seen
    share = FITTED / len(seen.z)
    chosen = _pick_evenly(ranked.tolist(), max(8, round(share * len(ranked))))
    kept = np.isin(seen.trial, chosen)
    return Observations(seen.trial[kept], seen.u[kept], seen.z[kept])
