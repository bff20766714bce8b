"""Prior trials: configurations to try first, and the trials of other sweeps."""

import shutil

import pytest

from tests import configurations
from tests.configurations import UNIT
from wandbsweep import Outcome, SweepConfigError, create_sweep, load_sweep
from wandbsweep.controllers.embedded.known_trials import decode_known_trials, find_known_trials

SPACE = {"x": UNIT, "kind": {"values": ["a", "b"]}}
BAYES = configurations.BAYES | {"parameters": SPACE}


def sweep(prior=None, **keys):
    return load_sweep(BAYES | ({"prior": prior} if prior else {}) | keys)


def filled(path, count=6, *, config=BAYES, storage=None):
    """A sweep of ``count`` finished trials; the best are at x = 0.3."""
    controller = create_sweep(load_sweep(config | {"method": "random"}), path, storage=storage, seed=0)
    for _ in range(count):
        trial = controller.ask("a")
        controller.report(trial, 3, {"loss": abs(trial.params["x"] - 0.3)})
        controller.complete(trial, Outcome.finished())
    return controller


CONFIGURATIONS = [{"x": 0.25, "kind": "a"}, {"x": 0.5}]


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_configurations_are_tried_first_and_what_they_omit_is_drawn(method):
    trials = [create_sweep(sweep({"configurations": CONFIGURATIONS}, method=method), seed=3).ask("a") for _ in range(2)]
    assert [trial.params for trial in trials] == [CONFIGURATIONS[0]] * 2
    controller = create_sweep(sweep({"configurations": CONFIGURATIONS}, method=method), seed=3)
    params = [controller.ask(str(agent)).params for agent in range(4)]
    assert params[0] == CONFIGURATIONS[0]
    assert params[1]["x"] == 0.5
    assert params[1]["kind"] in "ab"
    assert all(0 <= p["x"] <= 1 and p["x"] not in (0.25, 0.5) for p in params[2:])


def test_agents_share_the_configurations(tmp_path):
    configurations = [{"x": k / 10} for k in range(6)]
    controllers = [create_sweep(sweep({"configurations": configurations}), tmp_path, seed=0) for _ in range(3)]
    trials = [controllers[k % 3].ask(str(k)) for k in range(6)]
    assert [trial.params["x"] for trial in trials] == [k / 10 for k in range(6)]
    controllers[0].release(trials[2], "lost")
    assert controllers[1].ask("a").params == trials[2].params


def test_a_configuration_has_no_parameter_whose_condition_it_does_not_meet():
    space = SPACE | {"y": {"values": [1, 2], "when": {"kind": "b"}}}
    configurations = [{"x": 0.1, "kind": "a"}, {"x": 0.2, "kind": "b"}, {"kind": "b", "y": 2}]
    controller = create_sweep(sweep({"configurations": configurations}, parameters=space), seed=0)
    params = [controller.ask("a").params for _ in range(3)]
    assert params[0] == {"x": 0.1, "kind": "a"}
    assert params[1].keys() == {"x", "kind", "y"}
    assert params[2]["y"] == 2


def test_bayes_learns_from_another_sweeps_trials(tmp_path):
    filled(tmp_path / "old", 12)
    controller = create_sweep(sweep({"sweeps": [str(tmp_path / "old")]}), seed=1)
    assert controller.trials() == []
    assert abs(controller.ask("a").params["x"] - 0.3) < 0.15  # the first choice already


def test_the_other_sweep_may_be_gone_once_this_one_has_begun(tmp_path):
    filled(tmp_path / "old")
    spec = sweep({"sweeps": [str(tmp_path / "old")]})
    first = create_sweep(spec, tmp_path / "new", seed=1)
    shutil.rmtree(tmp_path / "old")
    joined = create_sweep(spec, tmp_path / "new")
    assert list_earlier(first) == list_earlier(joined)
    assert list(map(len, list_earlier(first))) == [6]


def test_a_sweep_in_a_database(tmp_path):
    filled(tmp_path / "old")
    spec = sweep({"sweeps": [str(tmp_path / "old")]})
    storage = f"sqlite:///{tmp_path}/new.db"
    create_sweep(spec, storage=storage, seed=0).close()
    shutil.rmtree(tmp_path / "old")
    assert list(map(len, list_earlier(create_sweep(spec, storage=storage)))) == [6]


def test_only_trials_that_ended_with_a_value_are_known(tmp_path):
    old = filled(tmp_path / "old", 2)
    old.complete(old.ask("a"), Outcome.failed("no luck"))
    stopped = old.ask("a")
    old.report(stopped, 0, {"loss": float("nan")})
    old.report(stopped, 1, {"loss": 0.5})
    old.complete(stopped, Outcome.stopped("too slow"))
    old.report(old.ask("a"), 0, {"loss": 0.1})
    old.release(old.ask("a"), "lost")
    stored = find_known_trials(sweep({"sweeps": [str(tmp_path / "old")]}))
    (known,) = decode_known_trials(stored)
    older = [{key: value for key, value in trial.items() if key != "sweep"} for trial in stored]
    assert decode_known_trials(older) == [known]  # as earlier versions stored them
    assert [(t.number, t.state, len(t.reports)) for t in known] == [
        (-1, "finished", 1),
        (-2, "finished", 1),
        (-3, "stopped", 2),
    ]
    assert known[2].value == 0.5


def list_earlier(controller):
    return controller._proposals.search.inner.earlier


def refused(tmp_path, **keys):
    with pytest.raises(SweepConfigError) as caught:
        create_sweep(sweep({"sweeps": [str(tmp_path / "old")]}, **keys), tmp_path / "new")
    assert not (tmp_path / "new" / "sweep.yaml").exists()
    return str(caught.value)


def test_another_metric_or_goal_is_refused(tmp_path):
    filled(tmp_path / "old")
    assert "has the objective minimize loss, this sweep minimize error" in refused(tmp_path, metric={"name": "error"})
    assert "this sweep maximize loss" in refused(tmp_path, metric={"name": "loss", "goal": "maximize"})


def test_a_space_in_which_none_of_the_trials_lies_is_refused(tmp_path):
    filled(tmp_path / "old")
    message = "none of the 6 trials of"
    assert message in refused(tmp_path, parameters={"depth": {"min": 1, "max": 3}})
    assert message in refused(tmp_path, parameters=SPACE | {"x": {"min": 5.0, "max": 6.0}})


def test_a_sweep_without_any_trial_to_learn_from_is_refused(tmp_path):
    old = filled(tmp_path / "old", 0)
    assert "has 0 trials, and none that ended with a value" in refused(tmp_path)
    old.complete(old.ask("a"), Outcome.failed("no luck"))
    assert "has 1 trial, and none" in refused(tmp_path)


def test_a_sweep_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SweepConfigError.__mro__[1], match="No sweep"):
        create_sweep(sweep({"sweeps": [str(tmp_path / "old")]}))


def test_a_larger_space_and_a_smaller_one(tmp_path, caplog):
    filled(tmp_path / "old", 10)
    prior = {"sweeps": [str(tmp_path / "old")]}
    assert (
        len(find_known_trials(sweep(prior, parameters={"x": SPACE["x"]}))) == 10
    )  # what it does not have counts for nothing
    assert not caplog.messages
    narrow = find_known_trials(sweep(prior, parameters=SPACE | {"x": {"min": 0.0, "max": 0.5}}))
    assert 0 < len(narrow) < 10
    assert all(trial["params"]["x"] <= 0.5 for trial in narrow)
    assert "of 10 trials lie outside this space and do not count." in caplog.messages[-1]
    wide = find_known_trials(sweep(prior, parameters=SPACE | {"depth": {"min": 1, "max": 3}}))
    assert len(wide) == 10
    assert "it had no depth, so it says nothing of it." in caplog.messages[-1]


def test_a_conditional_parameter_may_be_new(tmp_path):
    filled(tmp_path / "old", 10)
    space = SPACE | {"y": {"min": 0.0, "max": 1.0, "when": {"kind": "b"}}}
    controller = create_sweep(sweep({"sweeps": [str(tmp_path / "old")]}, parameters=space), seed=0)
    for _ in range(5):
        params = controller.ask("a").params
        assert ("y" in params) == (params["kind"] == "b")


def test_several_metrics(tmp_path):
    metrics = [{"name": "loss"}, {"name": "size"}]
    config = {"method": "random", "metrics": metrics, "parameters": SPACE}
    old = create_sweep(load_sweep(config), tmp_path / "old", seed=0)
    for _ in range(3):
        trial = old.ask("a")
        old.report(trial, 0, {"loss": trial.params["x"], "size": 1 - trial.params["x"]})
        old.complete(trial, Outcome.finished())
    spec = load_sweep(config | {"method": "bayes", "prior": {"sweeps": [str(tmp_path / "old")]}})
    new = create_sweep(spec, seed=0)
    assert [dict(t.metrics).keys() for t in list_earlier(new)[0]] == [{"loss", "size"}] * 3
    assert 0 <= new.ask("a").params["x"] <= 1


class TestExpect:
    """``prior.expect``: where the optimum is expected to be."""

    def test_is_tried_first_and_draws_the_search(self):
        """The objective is flat, so that only the expectation tells configurations apart."""
        controller = create_sweep(sweep({"expect": {"x": 0.3, "kind": "b"}}), seed=0)
        params = []
        for _ in range(10):
            trial = controller.ask("a")
            params.append(trial.params)
            controller.report(trial, 0, {"loss": 1.0 + 1e-3 * trial.number})
            controller.complete(trial, Outcome.finished())
        assert params[0] == {"x": 0.3, "kind": "b"}
        assert sum(abs(p["x"] - 0.3) < 0.35 for p in params[2:]) > 5

    def test_a_wrong_one_fades(self):
        spec = sweep({"expect": {"x": 0.9}})
        controller = create_sweep(spec, seed=0)
        for _ in range(15):
            trial = controller.ask("a")
            controller.report(trial, 0, {"loss": (trial.params["x"] - 0.1) ** 2})
            controller.complete(trial, Outcome.finished())
        assert min(trial.value for trial in controller.trials()) < 1e-3

    @pytest.mark.parametrize(
        ("expect", "method", "message"),
        [
            ({"y": 1}, "bayes", "y"),
            ({"x": 2.0}, "bayes", "2.0 is outside of 0.0 to 1.0"),
            ({"kind": "c"}, "bayes", "'c' is not one of its values, a, b"),
            (3, "bayes", "must be a mapping"),
            ({"x": 0.5}, "random", "cannot be combined with method random"),
        ],
    )
    def test_refuses(self, expect, method, message):
        with pytest.raises(SweepConfigError, match=message):
            sweep({"expect": expect}, method=method)
