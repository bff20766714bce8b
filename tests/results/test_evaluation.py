"""Mean, confidence and comparison, against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from wandbsweep.results.analysis.evaluation import compare, find_bounds, summarise


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_a_summary(count):
    values = np.random.default_rng(count).normal(0.9, 0.01, count)
    found = summarise(list(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std(ddof=1))
    wanted = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert found.interval == pytest.approx(wanted)


def test_one_run_has_no_spread():
    found = summarise([0.5])
    assert (found.mean, found.deviation, found.interval) == (0.5, None, None)


@pytest.mark.parametrize("seed", range(5))
def test_a_comparison(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0.9, 0.01, 6), rng.normal(0.89, 0.01, 6)
    found, wanted = compare(list(first), list(second)), stats.ttest_rel(first, second)
    assert found.p == pytest.approx(wanted.pvalue)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval()))
    assert found.difference == pytest.approx((first - second).mean())
    assert found.distinguishable == (wanted.pvalue < 0.05)


def test_the_same_seeds_tell_apart_what_means_do_not():
    hard = [0.5, 0.7, 0.9, 0.6, 0.8]  # some seeds are harder than others, for both
    easier = [value + 0.01 + 0.001 * i for i, value in enumerate(hard)]
    assert compare(easier, hard).distinguishable
    assert stats.ttest_ind(easier, hard).pvalue > 0.5


def test_differences_without_spread():
    assert compare([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert compare([1.5, 2.5], [1.0, 2.0]).p == 0.0
    assert compare([1.0], [2.0]).p is None


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    alarms = [compare(list(rng.normal(size=5)), list(rng.normal(size=5))).distinguishable for _ in range(1000)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.02)
    assert math.isfinite(float(np.mean(alarms)))


@pytest.mark.parametrize(
    ("metric", "values", "bounds"),
    [
        ("test/acc", [0.6, 1.0, 0.9], (0, 1)),
        ("test/accuracy_top1", [60.0, 99.5], (0, 100)),
        ("val/F1-score", [0.0, 0.1], (0, 1)),
        ("roc_auc", [0.5, 0.99], (0, 1)),
        ("test/loss", [0.01, 2.0, 0.02], (0, math.inf)),
        ("test/loss", [-1.0, 2.0], (-math.inf, math.inf)),
        ("reward", [0.1, 0.2], (-math.inf, math.inf)),
    ],
)
def test_intervals_stay_inside_what_the_metric_can_be(metric, values, bounds):
    assert find_bounds(metric, values) == bounds
    for count in (2, 3, len(values)):
        found = summarise(values[:count], bounds)
        assert bounds[0] <= found.interval[0] < found.mean < found.interval[1] <= bounds[1]
    width = bounds[1] - bounds[0]
    interval = compare(values, values[::-1], bounds).interval if len(values) > 2 else None
    assert interval is None or -width <= interval[0] <= interval[1] <= width


def test_far_from_its_bounds_an_interval_is_students():
    values = list(np.random.default_rng(0).normal(0.5, 0.01, 20))
    assert summarise(values, (0.0, 1.0)).interval == pytest.approx(summarise(values).interval, abs=1e-4)
    assert summarise([1.0, 1.0], (0.0, 1.0)).interval == (1.0, 1.0)
