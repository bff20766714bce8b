"""``early_terminate: {type: auto}``, an extension: successive halving without settings.

This is asynchronous successive halving (Karnin, Koren, Somekh, "Almost optimal exploration in multi-armed bandits",
ICML 2013). It derives the share of trials that continue from how well early ranks have predicted later ones.

Trials are compared at the iterations 1, 2, 4, 8, …. A trial that has passed one of them is judged by its best value so
far against the best values that all others had there. The trials that went four times as far, or ended by themselves,
show how well the ranks there predicted the later ranks, as Kendall's tau. A share of 1 - tau continues. If early values
decide everything, all but a third are stopped at each of these iterations; if they say little, few are stopped; if slow
starters win, none is.

``method: bayes`` learns from curves. It learns next to nothing from a curve that is cut at once, while a sixteenth of
the usual length costs little. So with a method that learns, comparisons begin later than in a random search.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.stopping.base import TrialView
from wandbsweep.stopping.history import History, as_history, format_apart, is_worse, pick_best

FAR = 4
"""A trial shows how well ranks predict once it has gone this many times as far."""
FEWEST_FAR = 3
"""Nothing is stopped before this many trials have gone that far."""
MOST_FAR = 40
"""If more have, the latest of them count: the search moves on, and a decision must stay cheap."""
PRIOR_TAU, PRIOR_PAIRS = 0.6, 15
"""The tau that is assumed before any trial shows one, and the number of pairs of trials that this prior counts for."""
SMALLEST_SHARE = 1 / 3
FIRST_IF_LEARNING = 1 / 16
"""With a method that learns, nothing is compared before this share of the usual length."""
NEARLY_DONE = 0.8
"""Beyond this share of the usual length trials are not stopped: that would save little, and hide how they end."""


@dataclass(frozen=True)
class AdaptiveHalving:
    """The stopping rule ``auto``."""

    goal: Goal
    learns: bool
    """Whether the search method learns from the trials' curves."""

    def reason_to_stop(self, number: int, trials: TrialView) -> str | None:
        first = FIRST_IF_LEARNING if self.learns else 0.0
        stops = adaptive_halving(self.goal, trials.histories(), trials.find_finished(), {number}, first=first)
        return stops.get(number)


@dataclass(frozen=True)
class Rung:
    """What the trials that reached one iteration had there; values are to be minimised."""

    iteration: int
    bests: Mapping[int, float]
    """By trial: its best value so far at this iteration."""
    tau: float
    """How well the ranks here predict the later ones."""

    @property
    def limit(self) -> float:
        """The worst value with which a trial continues."""
        ranked = sorted(self.bests.values())
        return ranked[min(len(ranked) - 1, int(len(ranked) * self.share))]

    @property
    def share(self) -> float:
        """The share of trials that continue."""
        return min(1.0, max(SMALLEST_SHARE, 1.0 - self.tau))


def adaptive_halving(
    goal: Goal,
    histories: Mapping[int, Sequence[object]],
    finished: Collection[int],
    running: Collection[int],
    *,
    first: float = 0.0,
) -> dict[int, str]:
    """Return the trials to stop, each with the reason.

    Args:
        goal: The metric's goal.
        histories: By trial, also those that ended: the metric's values in the order of their steps.
        finished: The trials that ended by themselves.
        running: The trials to judge.
        first: The share of the usual length before which nothing is compared.

    >>> histories = {n: [10.0 + n, 8.0 + n, 6.0 + n, 5.0 + n, 4.0 + n] for n in range(4)} | {4: [13.5], 5: [10.5]}
    >>> for number, reason in adaptive_halving("minimize", histories, {0, 1, 2, 3}, {4, 5}).items():
    ...     print(f"{number}: {reason}")
    4: auto: 13.5 at best is above 11, the limit at iteration 1 (tau 0.71)
    """
    stops = {}
    usual = _usual_length(histories, finished)
    soonest = first * usual if first else 0.0
    rung_at = cache(lambda iteration: compare_at(iteration, goal, histories, finished))
    for number in sorted(running):
        history = as_history(histories.get(number, ()))
        if len(history) > NEARLY_DONE * usual:
            continue
        passed = (1 << power for power in reversed(range(len(history).bit_length())) if 1 << power >= soonest)
        rung = next((found for iteration in passed if (found := rung_at(iteration))), None)
        if rung is None:
            continue
        value, limit = pick_best(goal, history), rung.limit if goal == "minimize" else -rung.limit
        if is_worse(goal, value, limit) and not _is_best(goal, value, histories):
            side = "below" if goal == "maximize" else "above"
            shown, needed = format_apart(value, limit)
            stops[number] = (
                f"auto: {shown} at best is {side} {needed}, the limit at iteration {rung.iteration} "
                f"(tau {rung.tau:.2f})"
            )
    return stops


def compare_at(
    iteration: int, goal: Goal, histories: Mapping[int, Sequence[object]], finished: Collection[int]
) -> Rung | None:
    """Compare the trials at ``iteration``; None: too few trials show anything, or too little is left to save."""
    if iteration > NEARLY_DONE * _usual_length(histories, finished):
        return None
    values = {number: as_history(histories[number]) for number in sorted(histories)}
    further = [
        history
        for number, history in values.items()
        if len(history) >= FAR * iteration or (number in finished and len(history) > iteration)
    ]
    if len(further) < FEWEST_FAR:
        return None
    sign = -1.0 if goal == "maximize" else 1.0
    bests = {n: sign * pick_best(goal, h[:iteration]) for n, h in values.items() if len(h) >= iteration}
    return Rung(iteration, bests, estimate_tau(iteration, [_running_best(sign, h) for h in further[-MOST_FAR:]]))


def list_rungs(
    goal: Goal, histories: Mapping[int, Sequence[object]], finished: Collection[int], *, first: float = 0.0
) -> Iterator[Rung]:
    """Yield every comparison that can be made now, in the order of iterations; see ``adaptive_halving``."""
    soonest = first * _usual_length(histories, finished) if first else 0.0
    if math.isinf(soonest):
        return
    iteration = 1 << max(0, math.ceil(soonest) - 1).bit_length()
    while rung := compare_at(iteration, goal, histories, finished):
        yield rung
        iteration *= 2


def estimate_tau(iteration: int, curves: Sequence[NDArray[np.float64]]) -> float:
    """Return Kendall's tau, with the prior included, between the ranks at ``iteration`` and the later ranks.

    Two trials are compared later at the last iteration that both reached. ``curves`` are running bests, to be
    minimised.
    """
    lengths = np.array([len(curve) for curve in curves])
    padded = np.stack([np.pad(curve, (0, lengths.max() - len(curve)), mode="edge") for curve in curves])
    early = padded[:, iteration - 1]
    # late[i, j]: what trial i had at the last iteration that i and j both reached.
    late = padded[np.arange(len(curves))[:, None], np.minimum.outer(lengths, lengths) - 1]
    agreeing = np.sign(early[:, None] - early[None, :]) * np.sign(late - late.T)
    pairs = len(curves) * (len(curves) - 1) / 2
    # Every pair is in ``agreeing`` twice.
    return float((agreeing.sum() / 2 + PRIOR_PAIRS * PRIOR_TAU) / (pairs + PRIOR_PAIRS))


def _running_best(sign: float, history: History) -> NDArray[np.float64]:
    return np.minimum.accumulate(sign * np.array(history, dtype=np.float64))


def _usual_length(histories: Mapping[int, Sequence[object]], finished: Collection[int]) -> float:
    """Return the median length of the trials that ended by themselves; infinite before the first has."""
    lengths = [length for number in finished if (length := len(as_history(histories.get(number, ()))))]
    return statistics.median(lengths) if lengths else math.inf


def _is_best(goal: Goal, value: float, histories: Mapping[int, Sequence[object]]) -> bool:
    """Return whether no trial has a better value."""
    return not any(
        is_worse(goal, value, pick_best(goal, h)) for other in histories.values() if (h := as_history(other))
    )
