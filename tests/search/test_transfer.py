"""Earlier sweeps as a prior: their weights, and what the search makes of them."""

import numpy as np
import pytest

from tests.configurations import BAYES, UNIT
from wandbsweep import TrialRecord, load_sweep
from wandbsweep.search.bayes.model import vary
from wandbsweep.search.bayes.space import Space
from wandbsweep.search.bayes.transfer import Transfer, fit_earlier
from wandbsweep.search.make import make_search
from wandbsweep.spec.sweep_spec import Metric

CUBE = {"x": UNIT, "y": UNIT, "z": UNIT, "kind": {"values": ["a", "b", "c"]}}
BEST = {"x": 0.85, "y": 0.2, "z": 0.6, "kind": "b"}
METRIC = Metric("loss")
SPEC = load_sweep(BAYES | {"parameters": CUBE})


def bowl(params, shift=0.0, scale=1.0):
    gaps = [params[name] - BEST[name] - shift for name in "xyz" if name in params]
    return scale * (sum(gap**2 for gap in gaps) + 0.3 * (params.get("kind") != BEST["kind"]))


def tried(objective, count=30, seed=0, names=tuple(CUBE)):
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        params = {name: str(rng.choice(list("abc"))) if name == "kind" else float(rng.random()) for name in names}
        value = objective(params)
        trials.append(TrialRecord(-1 - number, "finished", params, {0: value}, value))
    return trials


def search(earlier, objective=bowl, trials=10, seed=0):
    found, records = make_search(SPEC, seed=seed, known=earlier), []
    for number in range(trials):
        params = found.propose(number, records)
        value = objective(params)
        records.append(TrialRecord(number, "finished", params, {0: value}, value))
    return records


def weigh(earlier, own):
    space = Space(SPEC.parameters)
    return Transfer(space, METRIC, [fit_earlier(space, METRIC, trials) for trials in earlier], own).weights


def test_a_sweep_weighs_as_much_as_it_orders_the_trials():
    own = tried(bowl, 5, seed=9)
    alike, shifted = tried(lambda p: 100 + bowl(p, scale=50.0)), tried(lambda p: bowl(p, shift=-0.1), seed=1)
    reversed_, random = tried(lambda p: -bowl(p), seed=2), tried(lambda p: hash(p["x"]) % 1000 / 1000, seed=3)
    assert weigh([alike], []) == pytest.approx([0.7])
    weights = weigh([alike, shifted, reversed_, random], own)
    assert weights[:2].min() > 0.7
    assert weights[2] == 0
    assert weights[3] < 0.6


def test_the_first_trials_are_good_in_all_earlier_sweeps():
    earlier = [tried(lambda p: bowl(p, shift=-0.05, scale=9)), tried(lambda p: bowl(p, shift=0.05), seed=1)]
    values = [trial.value for trial in search(earlier, trials=3)]
    assert max(values[0], values[2]) < 0.25 < values[1]  # the second tells whether the sweeps are right here
    assert np.median([bowl(trial.params) for trial in tried(bowl, 200)]) > 0.6


def test_related_sweeps_help_and_misleading_ones_cost_little():
    related = [tried(lambda p, k=k: bowl(p, shift=0.05 * (k - 1), scale=10.0**k), seed=k) for k in range(3)]
    misleading = [tried(lambda p: -bowl(p), seed=k) for k in range(3)]
    with_, without, against = (
        np.mean([min(t.value for t in search(earlier, trials=8, seed=seed)) for seed in range(3)])
        for earlier in (related, [], misleading)
    )
    assert with_ < 0.7 * without
    assert against < 0.3  # half of all random configurations are above 0.6


def test_scales_and_goals_do_not_matter():
    plain, scaled = tried(bowl), tried(lambda p: 7 + 1000 * bowl(p))
    a, b = (search([trials], trials=6) for trials in (plain, scaled))
    for one, other in zip(a, b, strict=True):
        assert one.params["kind"] == other.params["kind"]
        assert [one.params[n] for n in "xyz"] == pytest.approx([other.params[n] for n in "xyz"], abs=1e-4)


def test_a_sweep_says_nothing_of_parameters_that_it_lacked():
    space = Space(SPEC.parameters)
    model = fit_earlier(space, METRIC, tried(bowl, names=("x", "kind")))
    points = space.draw(20, np.random.default_rng(0))
    moved = points.copy()
    moved[:, list(space.columns).index("y")] = 0.123
    assert model.predict(points) == pytest.approx(model.predict(moved))
    transfer = Transfer(space, METRIC, [model], [])
    good = transfer.list_good(np.random.default_rng(0))
    assert len(set(good[:, list(space.columns).index("y")])) == len(good)  # drawn
    assert search([tried(bowl, names=("x", "kind"))], trials=3)


def test_the_gradient_is_that_of_the_value():
    space = Space(SPEC.parameters)
    models = [fit_earlier(space, METRIC, tried(bowl, seed=k, names=names)) for k, names in enumerate([CUBE, "xy"])]
    transfer = Transfer(space, METRIC, models, tried(bowl, 6, seed=9))
    point = space.draw(1, np.random.default_rng(3))[0]
    value, slope = transfer.with_slope(point)
    assert value == pytest.approx(float(transfer(point[None])[0]))
    for column in np.flatnonzero(~space.categorical):
        step = np.zeros(space.dims)
        step[column] = 1e-6
        up, down = transfer(np.array([point + step, point - step]))
        assert slope[column] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


def test_many_agents_begin_with_good_configurations():
    """Without the model, before any trial has ended."""
    space = Space(SPEC.parameters)
    models = [fit_earlier(space, METRIC, tried(bowl))]
    asked = [bowl(vary(SPEC, [], rng=np.random.default_rng(k), earlier=models)) for k in range(20)]
    assert np.median(asked) < 0.75 * np.median([trial.value for trial in tried(bowl, 200)])
