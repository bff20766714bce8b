"""Trials as observations: running bests along the logarithm of the iterations, on a scale that a model can
use.

A trial's value is the best of its reports, so what is modelled is the best so far: it never rises
(everything here is to be minimised), and its last value is the trial's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from wandbsweep.trial import ENDED, TrialRecord, is_number

from .gp import Observations
from .space import Floats, Space

GRID_RATIO = 2.5
"""A curve is read at its last iteration and at iterations this factor apart."""


@dataclass(frozen=True)
class Curve:
    """What is known of one trial. `best` (reports,): the best value so far, inf before the first finite
    one."""

    best: Floats
    whole: bool
    """Nothing more would have come: its last value is its final one."""
    ended: bool

    @property
    def value(self) -> float:
        return float(self.best[-1]) if len(self.best) else float("inf")


def read_curve(trial: TrialRecord, sign: float) -> Curve:
    numbers = [sign * float(v) if is_number(v) else np.inf for v in trial.history]
    ended = trial.state in ENDED
    if ended and trial.value is not None and is_number(trial.value):
        numbers = numbers or [np.inf]
        numbers[-1] = min(numbers[-1], sign * trial.value)
    return Curve(np.minimum.accumulate(np.array(numbers, dtype=np.float64)), trial.state == "finished", ended)


def imputed(trials: Sequence[TrialRecord], sign: float, rule: str) -> dict[int, float]:
    """What failed trials count as, by position among `trials`: the worst or the best value of any that
    ended, or their own latest; 0 while there is none, as in W&B's engine."""
    ended = [sign * t.value for t in trials if t.state in ("finished", "stopped") and t.value is not None]
    common = (min(ended) if rule == "best" else max(ended)) if ended else 0.0
    found = {}
    for position, trial in enumerate(trials):
        if trial.state in ("failed", "crashed"):
            own = [sign * float(v) for v in trial.history if is_number(v)]
            found[position] = own[-1] if rule == "latest" and own else common
    return found


@dataclass(frozen=True)
class Warp:
    """A monotone map of values to a scale on which the good ones are well apart and the hopeless ones are
    not."""

    best: float
    scale: float
    shift: float
    centre: float
    spread: float

    @classmethod
    def fitted(cls, values: Floats, *, sharpness: float = 0.3) -> Warp:
        best, scale = float(values.min()), float(np.median(values) - values.min())
        if scale <= 0:
            scale = float(values.max() - best) or 1.0
        warp = cls(best, scale, sharpness, 0.0, 1.0)
        z = warp(values)
        return cls(best, scale, sharpness, float(z.mean()), float(z.std()) or 1.0)

    def __call__(self, values: Floats) -> Floats:
        gap = np.maximum((values - self.best) / self.scale, 0.0)
        return np.asarray((np.log(self.shift + gap) - self.centre) / self.spread)


def _milestones(length: int) -> list[int]:
    """Iterations at which to read a curve of `length` reports, ascending, the last one included."""
    found, at = [length], length / GRID_RATIO
    while at >= 1:
        found.append(round(at))
        at /= GRID_RATIO
    return sorted(set(found))


@dataclass(frozen=True)
class Evidence:
    """All that the model sees of a sweep."""

    x: Floats
    """(trials, columns)"""
    seen: Observations
    pending: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Rows of `x` that are still to give their final value."""
    best: float
    """The best value so far, on the warped scale."""
    ranked: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Rows of `x` with a value, best first."""


def gather(space: Space, trials: Sequence[TrialRecord], sign: float, impute: str) -> Evidence | None:
    """The evidence of trials that have parameters; None while none of them has ended with a value."""
    curves = [read_curve(trial, sign) for trial in trials]
    failed = imputed(trials, sign, impute)
    values = {i: c.value for i, c in enumerate(curves) if np.isfinite(c.value) and i not in failed}
    if not any(curves[i].ended for i in values):
        return None
    warp = Warp.fitted(np.array([v for i, v in values.items() if curves[i].ended]))
    last = max(len(c.best) for c in curves)
    horizon = np.log(max(last, 2))
    trial, u, z = [], [], []
    pending = []
    for i, curve in enumerate(curves):
        if i in failed:
            trial.append(i)
            u.append(0.0)
            z.append(failed[i])
            continue
        if not curve.ended:
            pending.append(i)
        length = len(curve.best)
        for at in _milestones(length) if length else []:
            if np.isfinite(curve.best[at - 1]):
                trial.append(i)
                u.append(0.0 if curve.whole and at == length else 1 - np.log(at) / horizon)
                z.append(curve.best[at - 1])
    order = sorted(values, key=lambda i: values[i])
    return Evidence(
        np.stack([space.encode(t.params) for t in trials]),
        Observations(np.array(trial), np.array(u), warp(np.array(z))),
        np.array(pending, dtype=np.int64),
        float(warp(np.array([values[order[0]]]))[0]),
        np.array(order, dtype=np.int64),
    )


def normal_scores(values: Floats) -> Floats:
    """Ranks as quantiles of a standard normal distribution."""
    rank = values.argsort().argsort()
    return np.asarray(ndtri((rank + 0.5) / len(values)))
