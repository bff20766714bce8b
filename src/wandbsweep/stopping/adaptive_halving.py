"""Early termination without settings, ``early_terminate: {type: auto}``: which running trials to stop, as a pure
function of all histories.

Successive halving (Karnin, Koren, Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013),
asynchronous, that sets the share of the trials which go on by how often its own orders came true. A trial's best value
so far is compared with what all others had at iteration 1, 2, 4, 8, …, whichever it passed last. The trials that went
four times as far, or ended by themselves, tell how well the order there foretold the later one, as Kendall's tau;
1 - tau of the trials go on. So where early values say everything, all but a third are stopped at each of these
iterations; where they say little, few are; where the late bloomers win, none is.

bayes learns from curves, and from one that is stopped at once next to nothing, while a sixteenth of the usual length is
hardly a cost; so there comparisons begin later than in a random search.
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
from wandbsweep.stopping.successive_halving import Counted, best, counted, is_worse, told_apart

FAR = 4
"""A trial tells something of an order once it went on for so many times the iterations."""
FEWEST_FAR = 3
"""So many of these there must be before anything is stopped."""
MOST_FAR = 40
"""Of more, the latest count: the search moves on, and the time of a verdict stays small."""
PRIOR_TAU, PRIOR_PAIRS = 0.6, 15
"""What is believed of an order before any is seen, and for how many pairs of trials that counts."""
FEWEST_GO_ON = 1 / 3
FIRST = {"bayes": 1 / 16}
"""By method: the share of the usual length before which nothing is compared."""
NEARLY_DONE = 0.8
"""Of the usual length: beyond it, stopping saves too little to be worth not knowing the end."""


@dataclass(frozen=True)
class Rung:
    """What the trials that came to one iteration had there; values are to be minimised."""

    iteration: int
    bests: Mapping[int, float]
    """By trial: its best value so far at this iteration."""
    tau: float
    """How well the order here foretells the later one."""

    @property
    def limit(self) -> float:
        """The worst value to go on with."""
        ranked = sorted(self.bests.values())
        return ranked[min(len(ranked) - 1, int(len(ranked) * self.share))]

    @property
    def share(self) -> float:
        return min(1.0, max(FEWEST_GO_ON, 1.0 - self.tau))


def auto(
    goal: Goal,
    histories: Mapping[int, Sequence[object]],
    finished: Collection[int],
    running: Collection[int],
    *,
    first: float = 0.0,
) -> dict[int, str]:
    """The trials among ``running`` to stop, each with the reason.

    ``histories`` holds the metric's values in order, of ended trials too; ``finished`` are the trials that ended by
    themselves. An iteration is a value that counts, as in ``stopping.hyperband``. ``first``: see ``FIRST``.

    >>> histories = {n: [10.0 + n, 8.0 + n, 6.0 + n, 5.0 + n, 4.0 + n] for n in range(4)} | {4: [13.5], 5: [10.5]}
    >>> for number, reason in auto("minimize", histories, {0, 1, 2, 3}, {4, 5}).items():
    ...     print(f"{number}: {reason}")
    4: auto: 13.5 at best is above 11, the limit at iteration 1 (tau 0.71)
    """
    stops = {}
    usual = _usual_length(histories, finished)
    soonest = first * usual if first else 0.0
    rung_at = cache(lambda iteration: rung(iteration, goal, histories, finished))
    for number in sorted(running):
        history = counted(histories.get(number, ()))
        if len(history) > NEARLY_DONE * usual:
            continue
        passed = (1 << power for power in reversed(range(len(history).bit_length())) if 1 << power >= soonest)
        last = next((found for iteration in passed if (found := rung_at(iteration))), None)
        if last is None:
            continue
        value, limit = best(goal, history), last.limit if goal == "minimize" else -last.limit
        if is_worse(goal, value, limit) and not _is_best(goal, value, histories):
            side = "below" if goal == "maximize" else "above"
            shown, needed = told_apart(value, limit)
            stops[number] = (
                f"auto: {shown} at best is {side} {needed}, the limit at iteration {last.iteration} "
                f"(tau {last.tau:.2f})"
            )
    return stops


def rung(
    iteration: int, goal: Goal, histories: Mapping[int, Sequence[object]], finished: Collection[int]
) -> Rung | None:
    """The comparison at ``iteration``; None: there is too little to go by, or too little left to save."""
    if iteration > NEARLY_DONE * _usual_length(histories, finished):
        return None
    values = {number: counted(histories[number]) for number in sorted(histories)}
    further = [
        history
        for number, history in values.items()
        if len(history) >= FAR * iteration or (number in finished and len(history) > iteration)
    ]
    if len(further) < FEWEST_FAR:
        return None
    sign = -1.0 if goal == "maximize" else 1.0
    bests = {n: sign * best(goal, h[:iteration]) for n, h in values.items() if len(h) >= iteration}
    return Rung(iteration, bests, foretold(iteration, [_curve(sign, h) for h in further[-MOST_FAR:]]))


def rungs(
    goal: Goal, histories: Mapping[int, Sequence[object]], finished: Collection[int], *, first: float = 0.0
) -> Iterator[Rung]:
    """Every comparison that is made by now, in order of iterations."""
    soonest = first * _usual_length(histories, finished) if first else 0.0
    if math.isinf(soonest):
        return
    iteration = 1 << max(0, math.ceil(soonest) - 1).bit_length()
    while found := rung(iteration, goal, histories, finished):
        yield found
        iteration *= 2


def foretold(iteration: int, curves: Sequence[NDArray[np.float64]]) -> float:
    """Kendall's tau, with the prior counted in, between the order at ``iteration`` and the later one; of two trials,
    at the last iteration that both reached. ``curves`` are running bests, to be minimised."""
    lengths = np.array([len(curve) for curve in curves])
    padded = np.stack([np.pad(curve, (0, lengths.max() - len(curve)), mode="edge") for curve in curves])
    early = padded[:, iteration - 1]
    late = padded[np.arange(len(curves))[:, None], np.minimum.outer(lengths, lengths) - 1]
    agreeing = np.sign(early[:, None] - early[None, :]) * np.sign(late - late.T)
    pairs = len(curves) * (len(curves) - 1) / 2
    return float((agreeing.sum() / 2 + PRIOR_PAIRS * PRIOR_TAU) / (pairs + PRIOR_PAIRS))


def _curve(sign: float, history: Counted) -> NDArray[np.float64]:
    return np.minimum.accumulate(sign * np.array(history, dtype=np.float64))


def _usual_length(histories: Mapping[int, Sequence[object]], finished: Collection[int]) -> float:
    """Of trials that ended by themselves, in iterations; infinite before the first has."""
    lengths = [length for number in finished if (length := len(counted(histories.get(number, ()))))]
    return statistics.median(lengths) if lengths else math.inf


def _is_best(goal: Goal, value: float, histories: Mapping[int, Sequence[object]]) -> bool:
    """Whether no trial has a better one."""
    return not any(is_worse(goal, value, best(goal, h)) for other in histories.values() if (h := counted(other)))
