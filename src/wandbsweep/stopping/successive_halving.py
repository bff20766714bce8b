"""``early_terminate: {type: hyperband}``: stops the trials that are not among the best 1/eta at an iteration.

This is the successive halving of Hyperband (Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization", JMLR 18, 2018). It is asynchronous and has one bracket, as W&B defines it under ``early_terminate``
(https://docs.wandb.ai/guides/sweeps/sweep-config-keys).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, islice, repeat, takewhile
from operator import mul, truediv
from typing import TypeVar

from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.stopping.base import TrialView
from wandbsweep.stopping.history import as_history, format_apart, is_worse, pick_best

RunId = TypeVar("RunId", bound=Hashable)


@dataclass(frozen=True)
class SuccessiveHalving:
    """The stopping rule of W&B's ``hyperband``."""

    settings: EarlyTerminate
    goal: Goal

    def reason_to_stop(self, number: int, trials: TrialView) -> str | None:
        return hyperband(self.settings, self.goal, trials.histories(), {number}).get(number)


def hyperband(
    early_terminate: EarlyTerminate | None,
    goal: Goal,
    histories: Mapping[RunId, Sequence[object]],
    running: Collection[RunId],
) -> dict[RunId, str]:
    """Return the runs to stop, each with the reason.

    An iteration is a finite value: None, NaN, infinities and booleans do not count.

    Args:
        early_terminate: The settings; None stops nothing.
        goal: The metric's goal.
        histories: By run, also those that ended: the metric's values in the order of their steps.
        running: The runs to judge.

    >>> histories = {
    ...     "r0": [10, 9, 8, 7, 6, 5, 4, 3, 2],
    ...     "r1": [10, 8, 6, 4, 3, 2, 1.5, 1, 0.5],
    ...     "r2": [10, 9.5, 9, 9, 9, 9, 9, 9, 9],
    ...     "r3": [5, 6, 7, 8, 9, 10, 11, 12, 13],
    ...     "r4": [10, 7, 7],
    ...     "r5": [1],
    ... }
    >>> settings = EarlyTerminate(min_iter=3)
    >>> for run, reason in hyperband(settings, "minimize", histories, list(histories)).items():
    ...     print(f"{run}: {reason}")
    r2: hyperband: 9 at iteration 9 is above the threshold 2 of band 9
    r3: hyperband: 13 at iteration 9 is above the threshold 2 of band 9
    >>> list(hyperband(settings, "maximize", histories, list(histories)))
    ['r0', 'r1', 'r4']
    """
    if early_terminate is None:
        return {}
    threshold_of = cache(lambda band: threshold(band, early_terminate.eta, goal, histories.values()))
    stops = {}
    for run in running:
        history = as_history(histories.get(run, ()))
        band = last_band(early_terminate, len(history))
        if band is None:
            continue
        value = history[band - 1] if early_terminate.strict else pick_best(goal, history)
        limit = threshold_of(band)
        if limit is not None and is_worse(goal, value, limit):
            which = f"at iteration {band}" if early_terminate.strict else "at best"
            side = "below" if goal == "maximize" else "above"
            shown, needed = format_apart(value, limit)
            stops[run] = f"hyperband: {shown} {which} is {side} the threshold {needed} of band {band}"
    return stops


def bands(early_terminate: EarlyTerminate) -> Iterator[int]:
    """Yield the iterations at which runs are compared, ascending; endlessly if they start at ``min_iter``.

    >>> list(bands(EarlyTerminate(max_iter=27, s=5)))
    [1, 3, 9]
    >>> list(islice(bands(EarlyTerminate(min_iter=3)), 4))
    [3, 9, 27, 81]
    """
    eta = early_terminate.eta
    if early_terminate.max_iter is not None and early_terminate.s is not None:
        shrinking = accumulate(repeat(eta, early_terminate.s), truediv, initial=early_terminate.max_iter)
        yield from reversed([int(band) for band in islice(shrinking, 1, None) if band >= 1])
    else:
        assert early_terminate.min_iter is not None
        yield from map(int, accumulate(repeat(eta), mul, initial=early_terminate.min_iter))


def last_band(early_terminate: EarlyTerminate, iterations: int) -> int | None:
    """Return the largest band that a run with this many iterations has reached; None: it has reached none."""
    return max(takewhile(lambda band: band <= iterations, bands(early_terminate)), default=None)


def threshold(band: int, eta: float, goal: Goal, histories: Iterable[Sequence[object]]) -> float | None:
    """Return the worst value at iteration ``band`` with which a run continues; None: no run has reached the band.

    Of the n runs that reached the band about the best 1/eta continue. W&B takes the value at rank n / eta, counted
    from 0, as the threshold, so that a few more survive, and ties do.

    Args:
        band: The iteration at which runs are compared.
        eta: The reduction factor.
        goal: The metric's goal.
        histories: The values of all runs.
    """
    long_enough = (as_history(history) for history in histories if len(history) >= band)
    reached = sorted((values[band - 1] for values in long_enough if len(values) >= band), reverse=goal == "maximize")
    return reached[int(len(reached) / eta)] if reached else None
