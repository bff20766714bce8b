"""The values that cross the seams, and how numbers of other libraries become ours."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from wandbsweep import Decision, TrialRecord
from wandbsweep.trial import STATES, as_number, as_step, is_number


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (np.float32(0.5), 0.5), (np.array(2.0), 2.0), (Decimal("0.5"), 0.5), (10**400, math.inf)],
)
def test_scalars_of_all_libraries_are_numbers(value: Any, number: float) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize("value", [True, "1", b"1", None, np.array([1.0, 2.0]), 1j])
def test_other_values_are_no_numbers(value: Any) -> None:
    assert as_number(value) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, True, 10**400, "1"])
def test_only_finite_numbers_count(value: Any) -> None:
    assert not is_number(value)
    assert is_number(1.5)


@pytest.mark.parametrize("step", [3, np.int64(3), 3.0, np.float32(3)])
def test_whole_numbers_are_steps(step: Any) -> None:
    assert as_step(step) == 3
    assert type(as_step(step)) is int


@pytest.mark.parametrize("step", [0.5, "3", None, math.inf])
def test_other_values_are_no_steps(step: Any) -> None:
    with pytest.raises(ValueError, match="`step`"):
        as_step(step)


def test_only_a_stop_has_a_reason() -> None:
    with pytest.raises(AssertionError):
        Decision(stop=True)
    with pytest.raises(AssertionError):
        Decision(reason="enough")


def test_a_history_follows_the_steps_and_not_the_order_of_the_reports() -> None:
    trial = TrialRecord(0, "running", {}, reports={2: 0.5, 0: 1.5, 1: 1.0})
    assert trial.history == [1.5, 1.0, 0.5]


def test_no_state_is_called_preempted() -> None:
    """A preempted trial is queued again."""
    assert "preempted" not in STATES
