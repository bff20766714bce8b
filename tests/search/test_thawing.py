"""Which trials `early_terminate: {type: thaw}` freezes, and which it thaws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from wandbsweep.search.bayes.endings import draw_endings
from wandbsweep.search.thawing import Thawing, find_whole_length, list_rungs
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import State, TrialRecord

WHOLE = 16


def make_spec(method: str = "bayes", goal: str = "minimize") -> SweepSpec:
    space = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
    spec = load_sweep({"method": method, "metric": {"name": "loss", "goal": goal}, "parameters": space})
    return replace(spec, early_terminate=EarlyTerminate("thaw", eta=2))


def make_trial(number: int, x: float, state: State, length: int, *, sign: float = 1.0) -> TrialRecord:
    """Return a trial whose curve falls to (x - 0.3)^2; every trial starts at 1 more."""
    curve = [sign * ((x - 0.3) ** 2 + 1 / (k + 1) ** 2) for k in range(length)]
    best = min(curve, key=lambda v: sign * v) if curve else None
    return TrialRecord(number, state, {"x": x, "y": (0.37 * number) % 1}, dict(enumerate(curve)), best)


def make_trials(sign: float = 1.0) -> list[TrialRecord]:
    xs = [0.9, 0.05, 0.6, 0.35, 0.75, 0.99]
    trials = [make_trial(n, x, "frozen", 4, sign=sign) for n, x in enumerate(xs)]
    return [make_trial(0, xs[0], "finished", WHOLE, sign=sign), *trials[1:]]


def test_rungs() -> None:
    assert list_rungs(EarlyTerminate("thaw", eta=2), 20) == [1, 2, 4, 8, 16]
    assert list_rungs(EarlyTerminate("thaw", min_iter=3, eta=3), 52) == [3, 9, 27]
    # Every rung is further than the one before, however small eta is.
    assert list_rungs(EarlyTerminate("thaw", eta=1.1), 5) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_likely_best_is_thawed(goal: str) -> None:
    sign = -1.0 if goal == "maximize" else 1.0
    chosen = Thawing(make_spec(goal=goal)).choose(make_trials(sign), may_start=False)
    assert chosen == 3  # x = 0.35 is nearest to the optimum
    assert chosen == Thawing(make_spec(goal=goal)).choose(make_trials(sign), may_start=False)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_hopeless_trial_makes_place_for_a_new_one(method: str) -> None:
    trials = [t if t.state == "finished" else replace(t, state="stopped") for t in make_trials()]
    hopeless = make_trial(6, 0.97, "frozen", 4)
    assert Thawing(make_spec(method)).choose([*trials, hopeless], may_start=True) is None


def test_the_first_trial_runs_to_its_end() -> None:
    rule = Thawing(make_spec())
    alone = [make_trial(0, 0.9, "running", 4)]
    assert rule.reason_to_freeze(0, alone) is None
    both: Sequence[TrialRecord] = [*alone, make_trial(1, 0.8, "running", 4)]
    assert rule.reason_to_freeze(0, both) is None
    reason = rule.reason_to_freeze(1, both)
    assert reason is not None
    assert reason.startswith("thaw: ")
    # With max_iter the length of a whole trial is known.
    limited = replace(make_spec(), early_terminate=EarlyTerminate("thaw", eta=2, max_iter=WHOLE))
    assert find_whole_length(both, WHOLE) == WHOLE
    assert Thawing(limited).reason_to_freeze(0, both) is not None


def test_a_sweep_without_new_trials_ends() -> None:
    """Frozen trials are taken up one after the other, and at last none is worth it."""
    rule, trials = Thawing(make_spec()), make_trials()
    taken = []
    while (number := rule.choose(trials, may_start=False)) is not None:
        assert trials[number].state == "frozen"
        length = min(WHOLE, 2 * len(trials[number].reports))
        state: State = "finished" if length == WHOLE else "frozen"
        trials[number] = make_trial(number, trials[number].params["x"], state, length)
        taken.append(number)
        assert len(taken) < 20
    assert trials[3].state == "finished"
    assert trials[5].state == "frozen"  # x = 0.99


def test_a_trial_near_its_end_or_without_rungs_is_not_frozen() -> None:
    rule = Thawing(make_spec())
    late = [*make_trials(), make_trial(6, 0.95, "running", WHOLE - 1)]
    assert rule.reason_to_freeze(6, late) is None
    once = [make_trial(n, 0.1 * n, "finished", 1) for n in range(6)]  # one report each
    assert rule.reason_to_freeze(6, [*once, make_trial(6, 0.9, "running", 1)]) is None


def test_diverged_trials_are_frozen_and_never_thawed() -> None:
    rule = Thawing(make_spec())
    trials = [*make_trials(), TrialRecord(6, "running", {"x": 0.3, "y": 0.3}, dict.fromkeys(range(4), np.nan))]
    assert rule.is_rung(4)
    assert rule.reason_to_freeze(6, trials) is not None
    diverged = replace(trials[6], state="frozen")
    assert rule.choose([*trials[:6], diverged], may_start=False) == 3
    # The model expects nothing of it, so it is as if it had failed.
    endings = draw_endings(rule.spec, [*trials[:6], diverged], np.random.default_rng(0), draws=8)
    assert endings is not None
    assert 6 not in [endings.trials[row].number for row in endings.rank()]


def test_only_known_violations_keep_a_trial_frozen() -> None:
    """A limited metric that is measured at the end of a training is not known of a frozen trial."""
    config = {
        "method": "bayes",
        "metric": {"name": "loss", "constraints": {"latency": {"max": 5}}},
        "parameters": {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}},
    }
    spec = replace(load_sweep(config), early_terminate=EarlyTerminate("thaw", eta=2))
    first, *others = make_trials()
    trials = [replace(first, metrics={"latency": 1.0}), *others]
    assert Thawing(spec).choose(trials, may_start=False) == 3
    trials[3] = replace(trials[3], metrics={"latency": 9.0})
    assert Thawing(spec).choose(trials, may_start=False) != 3


def test_some_trials_are_trained_to_their_end() -> None:
    """However little it is worth, about a fifth of all iterations goes into whole trials."""
    rule = Thawing(make_spec())
    hopeless = [make_trial(n, 0.7 + n / 100, "frozen", 8) for n in range(1, 20)]
    few = [make_trial(0, 0.3, "finished", WHOLE), *hopeless[:6]]
    assert rule.choose(few, may_start=True) is None
    many = [make_trial(0, 0.9, "finished", WHOLE), *hopeless]
    assert rule.choose(many, may_start=True) == 1
