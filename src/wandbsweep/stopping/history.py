"""The values of a metric that a trial reported, as stopping rules compare them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.trial import is_number


class History(tuple[float, ...]):
    """The finite values that a trial reported, in order; each counts as one iteration.

    A separate type, so that ``as_history`` need not filter the same values at every report.
    """

    __slots__ = ()


def as_history(values: Iterable[object]) -> History:
    """Return the values that count as iterations: None, NaN, infinities and booleans do not."""
    if isinstance(values, History):
        return values
    return History(cast("Iterator[float]", filter(is_number, values)))


def pick_best(goal: Goal, values: Iterable[float]) -> float:
    return max(values) if goal == "maximize" else min(values)


def is_worse(goal: Goal, value: float, than: float) -> bool:
    return value < than if goal == "maximize" else value > than


def format_apart(value: float, limit: float) -> tuple[str, str]:
    """Return both as text with five significant digits, or with as many as are needed for the texts to differ."""
    texts = ((f"{value:.{digits}g}", f"{limit:.{digits}g}") for digits in range(5, 18))
    return next((pair for pair in texts if pair[0] != pair[1]), (repr(value), repr(limit)))
