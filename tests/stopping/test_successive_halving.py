"""Hyperband: the decisions of W&B's engine, and the boundary cases of its definition."""

import doctest
import json
import math
from itertools import islice
from pathlib import Path

import pytest

from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.load import load_sweep
from wandbsweep.stopping import successive_halving
from wandbsweep.stopping.successive_halving import bands, hyperband, last_band, threshold

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "wandb-vectors.json").read_text(encoding="utf-8"))
CASES = [case for case in (*VECTORS["hyperband"], VECTORS["hyperband_doc"]) if isinstance(case, dict)]


def read(case):
    """Settings, goal, histories and running runs."""
    values = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    histories = {
        f"r{i}": [values.get(v, v) if isinstance(v, str) else v for v in history]
        for i, history in enumerate(case["hist"])
    }
    states = case["states"] or {}
    running = [run for i, run in enumerate(histories) if states.get(str(i), "running") == "running"]
    return EarlyTerminate(**case["et"]), case["goal"], histories, running


@pytest.mark.parametrize("case", CASES)
def test_the_runs_that_wandbs_engine_stops(case):
    assert sorted(hyperband(*read(case))) == sorted(case["stopped"])


@pytest.mark.parametrize("case", CASES)
def test_the_bands_and_thresholds_of_wandbs_engine(case):
    settings, goal, histories, _ = read(case)
    found = list(islice(bands(settings), len(case["bands"])))
    assert found == case["bands"]
    sign = -1 if goal == "maximize" else 1
    limits = [threshold(band, settings.eta, goal, histories.values()) for band in found]
    assert [math.inf if limit is None else sign * limit for limit in limits] == [float(t) for t in case["thresholds"]]


def test_the_settings_that_wandbs_engine_fails_on_are_read():
    """Its one vector without a result: a float for ``s``, which its schema allows."""
    settings, error = next(case for case in VECTORS["hyperband"] if isinstance(case, list))
    assert error.startswith("TypeError")
    base = {"method": "random", "parameters": {"x": {"value": 1}}, "metric": {"name": "loss"}}
    assert list(bands(load_sweep(base | {"early_terminate": settings}).early_terminate)) == [1, 3]


def test_the_docstrings_are_true():
    assert doctest.testmod(successive_halving).failed == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (EarlyTerminate(min_iter=3), [3, 9, 27, 81, 243]),
        (EarlyTerminate(max_iter=27, s=2), [3, 9]),
        (EarlyTerminate(max_iter=27, s=5), [1, 3, 9]),
        (EarlyTerminate(max_iter=5, s=2, eta=2), [1, 2]),
        (EarlyTerminate(max_iter=27, s=2, min_iter=5), [3, 9]),
        (EarlyTerminate(max_iter=27, min_iter=5), [5, 15, 45, 135, 405]),
        (EarlyTerminate(min_iter=100, eta=3.3), [100, 330, 1089, 3593, 11859]),
    ],
)
def test_bands(settings, expected):
    assert list(islice(bands(settings), 5)) == expected


@pytest.mark.parametrize(("iterations", "band"), [(0, None), (2, None), (3, 3), (8, 3), (9, 9), (10**6, 531441)])
def test_the_last_band_that_a_run_has_reached(iterations, band):
    assert last_band(EarlyTerminate(min_iter=3), iterations) == band


def test_only_the_runs_asked_about_are_judged_and_all_count():
    histories = {run: [value] for run, value in enumerate([1, 2, 3, 4, 5, 6])}
    settings = EarlyTerminate(min_iter=1)
    assert list(hyperband(settings, "minimize", histories, {5})) == [5]
    assert list(hyperband(settings, "minimize", histories, {0, 1, 2})) == []
    assert list(hyperband(settings, "maximize", histories, {0})) == [0]


def test_ties_survive():
    histories = {run: [1.0] for run in range(9)}
    assert hyperband(EarlyTerminate(min_iter=1), "minimize", histories, histories.keys()) == {}


def test_a_run_between_bands_is_judged_again_when_the_threshold_has_moved():
    settings = EarlyTerminate(min_iter=2)
    histories = {"slow": [5.0, 5.0, 4.0]}
    assert hyperband(settings, "minimize", histories, {"slow"}) == {}
    histories |= {f"better{i}": [1.0, 1.0] for i in range(3)}
    assert list(hyperband(settings, "minimize", histories, {"slow"})) == ["slow"]


def test_without_strict_the_best_value_counts_not_the_one_at_the_band():
    histories = {"late": [9.0, 9.0, 0.0], "a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}
    assert list(hyperband(EarlyTerminate(min_iter=2), "minimize", histories, {"late"})) == ["late"]
    assert hyperband(EarlyTerminate(min_iter=2, strict=False), "minimize", histories, {"late"}) == {}


def test_only_finite_numbers_count_as_iterations():
    noise = [None, math.nan, math.inf, True, "1.0"]
    histories = {"noisy": [*noise, 9.0, *noise], "good": [1.0], "better": [0.5], "best": [0.1]}
    settings = EarlyTerminate(min_iter=2)
    assert hyperband(settings, "minimize", histories, {"noisy"}) == {}
    reason = hyperband(EarlyTerminate(min_iter=1), "minimize", histories, {"noisy"})["noisy"]
    assert reason == "hyperband: 9 at iteration 1 is above the threshold 0.5 of band 1"


def test_the_reason_says_which_value_and_which_side():
    histories = {"bad": [0.1], "a": [0.9], "b": [0.9]}
    loose = EarlyTerminate(min_iter=1, strict=False)
    assert hyperband(loose, "maximize", histories, {"bad"}) == {
        "bad": "hyperband: 0.1 at best is below the threshold 0.9 of band 1"
    }


def test_no_early_termination_and_unknown_runs_stop_nothing():
    assert hyperband(None, "minimize", {"a": [1.0]}, {"a"}) == {}
    assert hyperband(EarlyTerminate(min_iter=1), "minimize", {}, {"new"}) == {}


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        (0.98, 0.983333333, "0.98 at iteration 1 is below the threshold 0.98333 of band 1"),
        (123456.789, 123460.0, "123457 at iteration 1 is below the threshold 123460 of band 1"),
        (0.1, 0.10000001, "0.1 at iteration 1 is below the threshold 0.10000001 of band 1"),
    ],
)
def test_the_reason_has_no_more_digits_than_distinguish_the_two_values(value, limit, shown):
    histories = {"bad": [value], "a": [limit], "b": [limit]}
    reason = hyperband(EarlyTerminate(min_iter=1), "maximize", histories, {"bad"})["bad"]
    assert reason == f"hyperband: {shown}"
