"""Early termination: which running trials to stop, as a pure function of the settings and all histories.

The successive halving of Hyperband (Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization", JMLR 18, 2018), asynchronous and in one bracket, as W&B defines it under ``early_terminate``
(https://docs.wandb.ai/guides/sweeps/sweep-config-keys).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, islice, repeat, takewhile
from operator import mul, truediv
from typing import TypeVar, cast

from wandbsweep.spec.sweep_spec import EarlyTerminate, Goal
from wandbsweep.trial import is_number

Run = TypeVar("Run", bound=Hashable)


def hyperband(
    early_terminate: EarlyTerminate | None,
    goal: Goal,
    histories: Mapping[Run, Sequence[object]],
    running: Collection[Run],
) -> dict[Run, str]:
    """The runs among ``running`` to stop, each with the reason.

    ``histories`` holds the metric's values in order, of ended runs too. An iteration is a value that counts:
    None, NaN, infinities and booleans do not.

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
        history = counted(histories.get(run, ()))
        band = last_band(early_terminate, len(history))
        if band is None:
            continue
        value = history[band - 1] if early_terminate.strict else best(goal, history)
        limit = threshold_of(band)
        if limit is not None and is_worse(goal, value, limit):
            which = f"at iteration {band}" if early_terminate.strict else "at best"
            side = "below" if goal == "maximize" else "above"
            shown, needed = told_apart(value, limit)
            stops[run] = f"hyperband: {shown} {which} is {side} the threshold {needed} of band {band}"
    return stops


def bands(early_terminate: EarlyTerminate) -> Iterator[int]:
    """The iterations at which runs are compared, ascending; without end where they start at ``min_iter``.

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
    """The largest band that a run of so many iterations has reached."""
    return max(takewhile(lambda band: band <= iterations, bands(early_terminate)), default=None)


def threshold(band: int, eta: float, goal: Goal, histories: Iterable[Sequence[object]]) -> float | None:
    """What a run needs at iteration ``band`` to be among the best 1/eta that reached it; None if none has.

    W&B's rank is n / eta counted from 0, so a few more than that survive, and ties do.
    """
    reached = [value for history in histories if (value := value_at(history, band)) is not None]
    reached.sort(reverse=goal == "maximize")
    return reached[int(len(reached) / eta)] if reached else None


def value_at(history: Sequence[object], iteration: int) -> float | None:
    """The value at an iteration, counted from 1; None if the run has not come so far."""
    if len(history) < iteration:
        return None
    values = counted(history)
    return values[iteration - 1] if len(values) >= iteration else None


class Counted(tuple[float, ...]):
    """Values that all count as iterations; a type of its own, so that nobody looks again."""

    __slots__ = ()


def counted(history: Iterable[object]) -> Counted:
    """The values that count as iterations."""
    if isinstance(history, Counted):
        return history
    return Counted(cast("Iterator[float]", filter(is_number, history)))


def best(goal: Goal, values: Iterable[float]) -> float:
    return max(values) if goal == "maximize" else min(values)


def is_worse(goal: Goal, value: float, than: float) -> bool:
    return value < than if goal == "maximize" else value > than


def told_apart(value: float, limit: float) -> tuple[str, str]:
    """Both in five significant digits, or in as many as it takes for them to differ."""
    texts = ((f"{value:.{digits}g}", f"{limit:.{digits}g}") for digits in range(5, 18))
    return next((pair for pair in texts if pair[0] != pair[1]), (repr(value), repr(limit)))
