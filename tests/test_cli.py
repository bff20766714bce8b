"""``wandbsweep status``, ``table`` and ``best``, of every kind of sweep."""

import json
import math
import re

import pytest

from wandbsweep import Outcome, cli, create_sweep, load_sweep

PLAIN = {
    "method": "random",
    "metric": {"name": "val/loss"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "run_cap": 9,
}
NO_METRIC = {"method": "grid", "parameters": {"a": {"values": [1, "two words"]}}}
REPEATS = PLAIN | {"repeats": {"parameter": "seed", "values": [7, 8]}}
METRICS = {key: value for key, value in PLAIN.items() if key != "metric"} | {
    "metrics": [{"name": "val/loss"}, {"name": "size", "goal": "minimize"}]
}
ALL = {"plain": PLAIN, "no metric": NO_METRIC, "repeats": REPEATS, "metrics": METRICS}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def controller(here):
    """Makes a sweep in ``outputs/``."""
    return lambda config: create_sweep(load_sweep(config), "outputs/abcd1234", seed=0)


@pytest.fixture
def said(capsys):
    """What a command printed, and its status."""

    def said(*arguments, status=0):
        assert cli.main(arguments) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return said


def run(controller, *values, returned=None, size=1.0):
    trial = controller.ask("a")
    for step, value in enumerate(values):
        controller.report(trial, step, {"val/loss": value, "size": size})
    controller.complete(trial, Outcome.finished(returned))


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
class TestEverySweep:
    def test_before_its_first_trial(self, controller, said, config):
        controller(config)
        assert "0" in said("status")
        assert json.loads(said("status", "--json"))["best"] is None
        assert "trial" in said("table")
        assert json.loads(said("table", "--json")) == []
        nothing = said("best", status=1)
        if config is NO_METRIC:
            assert nothing == "The sweep abcd1234 has no metric, so no best trial is known.\n"
        else:
            assert nothing == "No trial of abcd1234 has a value yet.\n"
        assert "no" in said("best", "--json", status=1).lower()

    def test_while_its_first_trial_runs(self, controller, said, config):
        sweep = controller(config)
        sweep.report(sweep.ask("a"), 0, {"val/loss": 0.5})
        assert "1 running" in said("status", "abcd1234")
        assert json.loads(said("status", "--json"))["counts"] == {"running": 1}
        (trial,) = json.loads(said("table", "--json"))
        assert trial["state"] == "running"
        assert "running" in said("table")
        assert said("best", status=1)

    def test_with_values(self, controller, said, config):
        sweep = controller(config)
        for value in (0.5, 0.25):
            run(sweep, value, returned=value)
        assert "2 finished" in said("status")
        assert len(json.loads(said("table", "--json"))) == 2
        assert len(json.loads(said("table", "--json", "--top", "1"))) == 1
        if config is NO_METRIC:
            assert said("status").splitlines()[-1] == "2 trials · 2 finished"
            return
        assert "Train it again:" in said("best")
        assert re.match(r"'?[xa]=", said("best", "--overrides"))

    def test_with_values_that_are_no_numbers(self, controller, said, config):
        sweep = controller(config)
        for value in (math.nan, math.inf):
            run(sweep, value, returned=value)
        for command in ("status", "table"):
            assert said(command)
            assert json.loads(said(command, "--json"), parse_constant=pytest.fail)
        assert said("best", status=1)


def test_the_best_of_a_plain_sweep(controller, said):
    sweep = controller(PLAIN)
    run(sweep, 0.5, 0.75)
    run(sweep, 0.25)
    best = json.loads(said("best", "--json"))
    wanted = {"number": 1, "state": "finished", "metric": 0.25, "metric_name": "val/loss"}
    assert wanted.items() <= best.items()
    assert best["metrics"] == {"val/loss": 0.25, "size": 1.0}
    assert best["overrides"] == [f"x={best['params']['x']!r}"]
    assert best["directory"].endswith("outputs/abcd1234/1")
    assert json.loads(said("status", "--json"))["best"] == {"number": 1, "metric": 0.25}
    assert said("status").splitlines()[0] == "abcd1234: random over 1 parameter, minimize val/loss"
    assert said("status").splitlines()[2] == "2/9 trials · 2 finished · best val/loss 0.25 (trial 1)"


def test_the_best_configuration_of_repeats(controller, said):
    sweep = controller(REPEATS)
    for value in (0.5, 0.75):
        run(sweep, value)
    assert "Best: trial 0, val/loss 0.625 ± 0.17678, the mean of 2 runs" in said("best")
    best = json.loads(said("best", "--json"))
    assert (best["metric"], best["mean"], best["runs"]) == (0.5, 0.625, [0, 1])
    assert best["params"]["seed"] == 7
    assert json.loads(said("status", "--json"))["best"] == {"number": 0, "metric": 0.625}
    assert "best val/loss 0.625 ± 0.17678, the mean of 2 runs" in said("status")
    header, *rows = said("table").splitlines()
    assert header.split() == ["trial", "state", "val/loss", "mean", "steps", "time", "x", "seed"]
    assert [row.split()[3] for row in rows] == ["0.625", "0.625"]


def test_the_front_of_several_metrics(controller, said):
    sweep = controller(METRICS)
    for value, size in [(0.5, 1.0), (0.25, 2.0), (0.5, 3.0)]:
        run(sweep, value, size=size)
    assert [trial["number"] for trial in json.loads(said("best", "--json"))] == [0, 1]
    assert said("best").count("Best: trial") == 2
    assert len(said("best", "--overrides").splitlines()) == 2
    assert "trial 1, val/loss 0.25, size 2" in said("best")
    found = json.loads(said("status", "--json"))
    assert found["metrics"] == {"val/loss": "minimize", "size": "minimize"}
    assert found["best"] == {"front": [0, 1]}
    assert "minimize val/loss, minimize size" in said("status")
    assert "3/9 trials · 3 finished · 2 on the Pareto front" in said("status")
    assert [trial["number"] for trial in json.loads(said("table", "--json"))] == [0, 1, 2]


def test_a_sweep_that_is_not_there(here, said):
    assert "There is no sweep in" in said("status", status=2)
    assert "No sweep 'nonesuch'" in said("best", "nonesuch", status=2)


def test_the_newest_sweep_is_the_default(controller, said):
    controller(PLAIN)
    create_sweep(load_sweep(PLAIN), "outputs/newer")
    assert said("status").startswith("newer: ")


def test_watching_ends_with_the_sweep(controller, said):
    run(controller(PLAIN), 0.5)
    assert said("status", "--watch").count("abcd1234") == 2
