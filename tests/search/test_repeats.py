"""Several runs of each configuration, with different seeds."""

import itertools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep
from wandbsweep.search.repeats import group_configurations, merge_runs
from wandbsweep.spec.distributions import grid_key
from wandbsweep.trial import TrialRecord

SEEDS = [10, 20, 30]
CONFIG = RANDOM | {"repeats": {"parameter": "seed", "values": SEEDS}, "run_cap": 30}


def loss(params):
    return params["x"] + params["seed"] / 1000


def run(controller, trial, value=None):
    controller.report(trial, 0, {"loss": loss(trial.params) if value is None else value})
    controller.complete(trial, Outcome.finished())


def play(controller, agent="a"):
    for trial in iter(lambda: controller.ask(agent), None):
        run(controller, trial)
    return controller.trials()


def list_keys(trials):
    return [grid_key(dict(trial.params)) for trial in trials]


def group_runs(controller):
    return group_configurations(controller.trials(), controller.spec.repeats)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_each_configuration_has_each_seed_once_at_most(method):
    controller = create_sweep(load_sweep(CONFIG | {"method": method}), seed=0)
    trials = play(controller)
    assert len(set(list_keys(trials))) == len(trials) == 30
    for configuration in group_runs(controller):
        seeds = [run.params["seed"] for run in configuration.runs]
        assert seeds == SEEDS[: len(seeds)]


def test_poor_configurations_run_once_and_the_best_with_every_seed():
    controller = create_sweep(load_sweep(CONFIG), seed=0)
    play(controller)
    ranked = sorted(group_runs(controller), key=lambda c: c.params["x"])
    assert len(ranked[0].runs) == 3
    worst = ranked[len(ranked) // 2 + 2 :]
    # The very first ones have no others to be compared with.
    assert all(len(c.runs) == 1 for c in worst if c.runs[0].number > 6)
    assert 10 < len(ranked) < 30


def test_the_other_direction():
    config = CONFIG | {"metric": {"name": "loss", "goal": "maximize"}}
    controller = create_sweep(load_sweep(config), seed=0)
    play(controller)
    assert len(max(group_runs(controller), key=lambda c: c.params["x"]).runs) == 3


def test_agents_that_wait_for_each_other_begin_new_configurations():
    controller = create_sweep(load_sweep(CONFIG), seed=0)
    trials = [controller.ask(str(agent)) for agent in range(8)]
    assert [trial.params["seed"] for trial in trials] == [10] * 8
    assert len({trial.params["x"] for trial in trials}) == 8


def test_threads_at_once():
    controller = create_sweep(load_sweep(CONFIG | {"run_cap": 60}), seed=0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: play(controller, str(k)), range(8)))
    trials = controller.trials()
    assert len(set(list_keys(trials))) == len(trials) == 60
    assert all(len(c.runs) <= 3 for c in group_runs(controller))


AGENT = """
import sys, json
from wandbsweep import create_sweep, load_sweep, Outcome
controller = create_sweep(load_sweep(json.loads(sys.argv[1])), sys.argv[2])
sys.stdin.readline()
while (trial := controller.ask(sys.argv[3])) is not None:
    if trial.attempt == 1 and trial.number % 7 == 3:
        controller.release(trial, "lost")
        continue
    controller.report(trial, 0, {"loss": trial.params["x"] + trial.params["seed"] / 1000})
    controller.complete(trial, Outcome.failed("no luck") if trial.number % 11 == 5 else Outcome.finished())
"""


def test_processes_at_once_with_failures_and_lost_trials(tmp_path):
    config = CONFIG | {"run_cap": 80}
    create_sweep(load_sweep(config), tmp_path, seed=0).close()
    command = [sys.executable, "-c", AGENT, json.dumps(config), str(tmp_path)]
    agents = [subprocess.Popen([*command, str(k)], stdin=subprocess.PIPE, text=True) for k in range(4)]
    for agent in agents:
        agent.stdin.write("go\n")
        agent.stdin.flush()
    for agent in agents:
        agent.communicate(timeout=60)
        assert agent.returncode == 0
    controller = create_sweep(load_sweep(config), tmp_path)
    trials = controller.trials()
    assert len(set(list_keys(trials))) == len(trials) == 80
    assert {t.number for t in trials if t.state == "failed"} == {t.number for t in trials if t.number % 11 == 5}
    for configuration in group_runs(controller):
        if configuration.runs[-1].state == "failed":
            continue
        assert all(run.state == "finished" for run in configuration.runs)


def test_a_failure_ends_a_configuration():
    controller = create_sweep(load_sweep(CONFIG), seed=0)
    first = controller.ask("a")
    controller.complete(first, Outcome.failed("no luck"))
    assert controller.ask("a").params["x"] != first.params["x"]


def test_a_stopped_run_ends_a_configuration():
    config = CONFIG | {"early_terminate": {"type": "hyperband", "min_iter": 1}}
    controller = create_sweep(load_sweep(config), seed=0)
    for value in (0.1, 0.1, 0.1):  # the first configuration, whole
        run(controller, controller.ask("a"), value)
    bad = controller.ask("a")
    decision = controller.report(bad, 0, {"loss": 9.0})
    assert decision.stop
    controller.complete(bad, Outcome.stopped(decision.reason))
    assert controller.ask("a").params["x"] != bad.params["x"]
    assert group_configurations(controller.trials(), controller.spec.repeats)[1].mean == 9.0


def test_a_lost_run_is_the_same_one_again():
    controller = create_sweep(load_sweep(CONFIG), seed=0)
    first = controller.ask("a")
    run(controller, first)
    second = controller.ask("a")
    assert second.params == {"x": first.params["x"], "seed": 20}
    controller.release(second, "lost")
    again = controller.ask("b")
    assert (again.number, again.params, again.attempt) == (1, second.params, 2)


def test_a_grid_runs_every_point_with_every_seed():
    points = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}}
    controller = create_sweep(load_sweep(CONFIG | {"method": "grid", "parameters": points}))
    assert controller.cap == 12
    trials = list(iter(lambda: controller.ask("a"), None))
    wanted = itertools.product([1, 2], ["x", "y"], SEEDS)
    assert [(t.params["a"], t.params["b"], t.params["seed"]) for t in trials] == list(wanted)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_space_of_few_configurations_is_used_up_before_a_run_is_repeated(method):
    points = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}}
    config = CONFIG | {"method": method, "parameters": points, "run_cap": 12}
    controller = create_sweep(load_sweep(config), seed=0)
    for trial in iter(lambda controller=controller: controller.ask("a"), None):
        run(controller, trial, trial.params["a"])
    assert len(set(list_keys(controller.trials()))) == 12
    assert [len(c.runs) for c in group_runs(controller)] == [3] * 4


def test_then_all_are_run_again_and_more_runs_do_not_improve_the_rank(tmp_path):
    points = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}}
    config = CONFIG | {"method": "random", "parameters": points, "run_cap": 21}
    controller = create_sweep(load_sweep(config), tmp_path, seed=0)
    for trial in iter(lambda: controller.ask("a"), None):
        run(controller, trial, {1: 0.1, 2: 0.9}[trial.params["a"]] + (trial.params["b"] == "y") / 10)
    assert [len(c.runs) for c in group_runs(controller)] == [6, 6, 6, 3]
    ranked = open_sweep(tmp_path).configurations
    assert [(c.params["a"], c.params["b"]) for c in ranked] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_run_cap_counts_runs():
    assert len(play(create_sweep(load_sweep(CONFIG | {"run_cap": 7}), seed=0))) == 7


def test_prior_configurations_are_configurations():
    prior = {"configurations": [{"x": 0.5}, {"x": 0.5}, {"x": 0.25}]}
    controller = create_sweep(load_sweep(CONFIG | {"prior": prior}), seed=0)
    assert [controller.ask(str(agent)).params["x"] for agent in range(2)] == [0.5, 0.25]


def test_a_target_is_the_means_of_all_runs():
    config = CONFIG | {"metric": {"name": "loss", "target": 1.0}}
    controller = create_sweep(load_sweep(config), seed=0)
    for value in (0.0, 1.0):
        run(controller, controller.ask("a"), value)
    assert controller.completion() is None
    run(controller, controller.ask("a"), 2.0)
    assert controller.completion().reason == "the target 1 was reached, as the mean of 3 runs"
    assert controller.ask("a") is None


def record(number, state, seed, reports, value=None):
    return TrialRecord(number, state, {"x": 0.5, "seed": seed}, reports, value)


def test_what_a_search_sees_is_the_mean():
    spec = load_sweep(CONFIG)
    runs = [record(0, "finished", 10, {0: 4.0, 1: 2.0}, 2.0), record(1, "finished", 20, {0: 2.0, 2: 1.0}, 1.0)]
    (configuration,) = group_configurations([*runs, TrialRecord(2, "running", {})], spec.repeats)
    one = merge_runs(0, configuration)
    assert (one.state, one.params, one.value, one.reports) == ("finished", {"x": 0.5}, 1.5, {0: 3.0})
    assert configuration.deviation == pytest.approx(0.5**0.5)
    (configuration,) = group_configurations([*runs, record(3, "running", 30, {0: 9.0})], spec.repeats)
    assert merge_runs(0, configuration).value == 1.5


@pytest.mark.parametrize("states", [["running"], ["queued"], ["failed"], ["failed", "running"], ["crashed"]])
def test_what_a_search_sees_of_runs_without_a_value(states):
    (configuration,) = group_configurations(
        [record(n, s, n, {}) for n, s in enumerate(states)], load_sweep(CONFIG).repeats
    )
    one = merge_runs(0, configuration)
    assert one.value is None
    assert one.state == ("running" if {"running", "queued"} & {*states} else states[-1])
