"""Searches over conditional parameters."""

import itertools

import numpy as np
import pytest

from tests.configurations import BAYES
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.search.bayesian import BayesianSearch
from wandbsweep.search.make import make_search
from wandbsweep.spec.distributions import grid_key
from wandbsweep.trial import TrialRecord

CHOICES = {
    "optimizer": {"values": ["adamw", "sgd"]},
    "betas": {"values": [0.9, 0.95, 0.99], "when": {"optimizer": "adamw"}},
    "momentum": {"values": [0.0, 0.9], "when": {"optimizer": "sgd"}},
}
MIXED = CHOICES | {"lr": {"min": 0.0, "max": 1.0}, "decay": {"min": 0.0, "max": 1.0, "when": {"optimizer": "adamw"}}}


def spec(parameters, **keys):
    return load_sweep(BAYES | {"parameters": parameters} | keys)


def is_valid(params):
    wanted = {"adamw": {"optimizer", "betas"}, "sgd": {"optimizer", "momentum"}}[params["optimizer"]]
    return params.keys() - {"lr", "decay"} == wanted and ("decay" in params) <= (params["optimizer"] == "adamw")


def play(controller, trials, loss):
    """``trials`` trials one after another, each with the ``loss`` of its parameters."""
    found = []
    for _ in range(trials):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": loss(trial.params)})
        controller.complete(trial, Outcome.finished())
        found.append(dict(trial.params))
    return found


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_a_trial_has_active_parameters_only(method):
    controller = create_sweep(spec(MIXED, method=method), seed=0)
    found = play(controller, 12, lambda params: params["lr"] + params.get("momentum", 0.5))
    assert all(map(is_valid, found))
    assert {params["optimizer"] for params in found} == {"adamw", "sgd"}
    assert [record.params for record in controller.trials()] == found


def test_bayes_does_not_repeat_a_configuration_of_active_parameters():
    controller = create_sweep(spec(CHOICES), seed=0)
    found = play(controller, 5, lambda params: len(str(params)))
    assert len({grid_key(params) for params in found}) == 5
    assert grid_key(controller.ask("a").params) in map(grid_key, found)  # all were tried


def test_agents_that_ask_at_once_get_different_points():
    controller = create_sweep(spec(CHOICES), seed=0)
    found = [controller.ask(str(agent)).params for agent in range(5)]
    assert len(set(map(grid_key, found))) == 5


def test_bayes_depends_on_seed_and_trials_alone():
    record = TrialRecord(0, "finished", {"optimizer": "sgd", "momentum": 0.9, "lr": 0.5}, {0: 1.0}, 1.0)
    one, other = (BayesianSearch(spec(MIXED), seed=3).propose(1, [record]) for _ in range(2))
    assert one == other


def test_bayes_learns_about_a_conditional_parameter():
    space = {
        "kind": {"values": ["plain", "tuned"]},
        "x": {"min": 0.0, "max": 1.0, "when": {"kind": "tuned"}},
    }
    loss = lambda params: abs(params["x"] - 0.7) if "x" in params else 0.5  # noqa: E731
    found = play(create_sweep(spec(space), seed=1), 14, loss)
    assert min(map(loss, found)) < 0.05
    assert sum(params["kind"] == "plain" for params in found) == 1  # there is one such configuration


def test_random_draws_what_it_drew_without_conditions():
    free = {name: {k: v for k, v in law.items() if k != "when"} for name, law in MIXED.items()}
    one, other = (make_search(spec(space, method="random"), seed=5) for space in (free, MIXED))
    for number in range(20):
        assert other.draw(number).items() <= one.draw(number).items()


def test_a_lost_point_of_a_conditional_grid_is_given_out_again(tmp_path):
    controllers = [create_sweep(spec(CHOICES, method="grid"), tmp_path) for _ in range(2)]
    trials = [controllers[k % 2].ask(str(k)) for k in range(5)]
    assert controllers[0].ask("a") is None
    controllers[1].release(trials[3], "lost")
    again = controllers[0].ask("a")
    assert (again.number, again.params) == (3, trials[3].params)
    points = itertools.chain((("adamw", b) for b in (0.9, 0.95, 0.99)), (("sgd", m) for m in (0.0, 0.9)))
    assert {tuple(sorted(t.params.values(), key=str, reverse=True)) for t in trials} == set(points)
    assert len({t.number for t in trials}) == 5


def test_a_boolean_condition():
    space = {"warm": {"values": [True, False]}, "steps": {"min": 1, "max": 9, "when": {"warm": True}}}
    draws = [make_search(spec(space, method="random"), seed=0).draw(number) for number in range(30)]
    assert all(("steps" in params) == (params["warm"] is True) for params in draws)
    assert np.unique([params["warm"] for params in draws]).size == 2
