"""Adaptive halving: what it waits for, what it stops, and how it measures whether early ranks predict later ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.stopping.adaptive_halving import adaptive_halving, compare_at, estimate_tau, list_rungs

LENGTH = 20
Histories = dict[int, Sequence[object]]


def falling(level: float, length: int = LENGTH) -> list[float]:
    """A curve that keeps its distance to the others of its kind."""
    return [level + 1 / (1 + k) for k in range(length)]


def keeping(count: int) -> Histories:
    """Trials whose order is the same from the first report to the last."""
    return {number: falling(number / 10) for number in range(count)}


def crossing(count: int) -> Histories:
    """Trials of which the worst at first are the best in the end."""
    return {n: [n / 10 + (count - n) / 2 * k / LENGTH for k in range(LENGTH, 0, -1)] for n in range(count)}


def test_each_report_is_compared_at_the_last_power_of_two() -> None:
    assert [found.iteration for found in list_rungs("minimize", keeping(8), set(range(8)))] == [1, 2, 4, 8, 16]
    reasons = adaptive_halving("minimize", keeping(8) | {8: falling(5, 3), 9: falling(5, 4)}, set(range(8)), {8, 9})
    assert {number: reason.split(", ")[1] for number, reason in reasons.items()} == {
        8: "the limit at iteration 2 (tau 0.86)",
        9: "the limit at iteration 4 (tau 0.86)",
    }


@pytest.mark.parametrize(("first", "iterations"), [(0.0, [1, 2, 4, 8, 16]), (1 / 16, [2, 4, 8, 16]), (0.2, [4, 8, 16])])
def test_nothing_is_compared_before_a_share_of_the_usual_length(first: float, iterations: list[int]) -> None:
    histories = keeping(8)
    found = list_rungs("minimize", histories, set(range(8)), first=first)
    assert [rung.iteration for rung in found] == iterations
    stopped = [
        length
        for length in range(1, 17)
        if adaptive_halving("minimize", histories | {8: falling(5, length)}, set(range(8)), {8}, first=first)
    ]
    assert stopped == list(range(iterations[0], 17))


def test_then_it_waits_for_the_first_that_ends_by_itself() -> None:
    histories = keeping(8) | {8: falling(5, 4)}
    for finished in (set[int](), {0}):
        assert bool(adaptive_halving("minimize", histories, finished, {8}, first=1 / 16)) == bool(finished)
        assert bool(list(list_rungs("minimize", histories, finished, first=1 / 16))) == bool(finished)


def test_the_reason_says_the_value_the_limit_and_the_tau() -> None:
    found = adaptive_halving("minimize", keeping(8) | {8: [9.0]}, set(range(8)), {8})
    assert found == {8: "auto: 9 at best is above 1.3, the limit at iteration 1 (tau 0.86)"}


@pytest.mark.parametrize("far", [2, 3])
def test_nothing_is_stopped_before_three_trials_went_four_times_as_far(far: int) -> None:
    histories = {number: falling(number / 10, 4 if number < far else 3) for number in range(6)} | {9: falling(5, 2)}
    assert bool(adaptive_halving("minimize", histories, set(), {9})) == (far == 3)


def test_trials_that_ended_by_themselves_have_gone_far() -> None:
    histories = {number: falling(number / 10, 3) for number in range(3)} | {9: falling(5, 2)}
    assert adaptive_halving("minimize", histories, {0, 1}, {9}) == {}
    assert list(adaptive_halving("minimize", histories, {0, 1, 2}, {9})) == [9]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-9, 3.0), (1e12, -5e12)])
def test_goal_and_scale_make_no_difference(goal: Goal, scale: float, shift: float) -> None:
    sign = -1.0 if goal == "maximize" else 1.0
    histories = keeping(10) | {10 + k: falling(k / 4, 2) for k in range(6)}
    moved = {n: [sign * (scale * v + shift) for v in history] for n, history in histories.items()}  # type: ignore[operator]
    running = set(range(10, 16))
    stopped = set(adaptive_halving(goal, moved, set(range(10)), running))
    assert stopped == set(adaptive_halving("minimize", histories, set(range(10)), running))
    assert 0 < len(stopped) < len(running)


def test_fewer_continue_if_early_ranks_predicted_later_ones() -> None:
    shares = []
    for count in (3, 6, 40):
        found = compare_at(2, "minimize", keeping(count), set(range(count)))
        assert found is not None
        shares.append(found.share)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(1 - (3 + 15 * 0.6) / 18)
    assert shares[-1] == 1 / 3


def test_nothing_is_stopped_if_slow_starters_win() -> None:
    histories = crossing(12) | {20: [9.0]}
    found = compare_at(1, "minimize", histories, set(range(12)))
    assert found is not None
    assert found.tau < 0
    assert found.limit == 9.0
    assert adaptive_halving("minimize", histories, set(range(12)), {20}) == {}


def test_two_trials_are_compared_at_the_last_iteration_that_both_reached() -> None:
    """A trial that was stopped has not lost to the one that was trained on for longer."""
    slow_then_good = np.array([3.0, 2.9, 2.8, 2.7, 0.1])
    stopped = np.array([2.0, 1.9, 1.8, 1.7])
    assert estimate_tau(1, [slow_then_good, stopped]) == pytest.approx((1 + 15 * 0.6) / 16)


def test_the_best_trial_continues_and_so_do_ties() -> None:
    histories = keeping(8) | {8: [5.0, 5.0, 5.0, -1.0], 9: [5.0]}
    assert adaptive_halving("minimize", histories, set(range(8)), {8}) == {}
    same: Histories = {number: [1.0] * LENGTH for number in range(8)} | {8: [1.0]}
    assert adaptive_halving("minimize", same, set(range(8)), {8}) == {}


@pytest.mark.parametrize(("iterations", "stopped"), [(8, True), (16, False)])
def test_a_nearly_finished_trial_is_not_stopped(iterations: int, stopped: bool) -> None:
    histories = {n: falling(n / 10, 18) for n in range(6)} | {9: falling(5, iterations)}
    assert bool(adaptive_halving("minimize", histories, set(range(6)), {9})) == stopped


def test_only_finite_numbers_count_as_iterations() -> None:
    noise: list[object] = [None, math.nan, math.inf, True, "1.0"]
    histories = keeping(8) | {8: [*noise, 9.0, *noise], 9: noise}
    assert list(adaptive_halving("minimize", histories, set(range(8)), {8, 9})) == [8]


def test_the_best_value_so_far_counts() -> None:
    histories = keeping(8) | {8: [0.0, 9.0], 9: [9.0, 9.0]}
    assert list(adaptive_halving("minimize", histories, set(range(8)), {8, 9})) == [9]


def test_empty_histories_and_unknown_trials() -> None:
    assert adaptive_halving("minimize", {}, set(), {0}) == {}
    assert adaptive_halving("minimize", keeping(4), {0, 1, 77}, {9}) == {}


def test_the_decision_does_not_depend_on_the_order_of_the_histories() -> None:
    histories = keeping(60) | {60 + k: falling(k, 2) for k in range(5)}
    backwards = dict(reversed(histories.items()))
    running = set(range(60, 65))
    assert adaptive_halving("minimize", histories, set(range(60)), running) == adaptive_halving(
        "minimize", backwards, set(range(60)), running
    )
