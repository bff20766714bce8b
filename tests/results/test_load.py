"""``open_sweep``: a sweep's trials, its best, and the table of them."""

import math
from dataclasses import FrozenInstanceError, fields

import pytest

from tests.configurations import METRICS, RANDOM, REPEATS
from wandbsweep import Outcome, SweepDirectoryError, SweepResults, create_sweep, load_sweep, open_sweep
from wandbsweep.cli.command import format_trial_json
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.trial import replace_nonfinite


def run_trial(controller, *reports, state="finished"):
    """Run a trial that makes these reports and ends in ``state``, unless that is ``running``."""
    trial = controller.ask("a")
    for step, report in enumerate(reports):
        controller.report(trial, step, report)
    if state == "queued":
        controller.release(trial, "lost")
    elif state != "running":
        controller.complete(trial, Outcome(state, "" if state == "finished" else "no luck"))
    return trial


@pytest.fixture
def make_results(tmp_path):
    def make_results(config, *trials):
        controller = create_sweep(load_sweep(config), tmp_path, seed=0)
        for reports, state in trials:
            run_trial(controller, *reports, state=state)
        return open_sweep(tmp_path)

    return make_results


def losses(*values):
    return [{"loss": value} for value in values]


def test_the_best_trial_ended_with_a_value(make_results):
    results = make_results(
        RANDOM,
        (losses(0.5, 0.6), "finished"),
        (losses(0.4), "stopped"),
        (losses(0.1), "failed"),
        (losses(0.2), "running"),
        (losses(math.nan, 0.45), "finished"),
    )
    assert results.best.number == 1
    assert [trial.number for trial in results.ranked] == [2, 3, 1, 4, 0]
    assert results.counts == {"running": 1, "finished": 2, "stopped": 1, "failed": 1}


def test_the_best_of_a_maximizing_sweep(make_results):
    config = RANDOM | {"metric": {"name": "loss", "goal": "maximize"}}
    results = make_results(config, (losses(0.5), "finished"), (losses(0.9), "finished"), (losses(0.9), "finished"))
    assert results.best.number == 1


def test_a_sweep_without_a_metric_has_what_tasks_return(tmp_path):
    config = {"method": "grid", "parameters": {"a": {"values": [1, 2]}}}
    controller = create_sweep(load_sweep(config), tmp_path)
    for value in (2.0, math.nan):
        controller.complete(controller.ask("a"), Outcome.finished(value))
    results = open_sweep(tmp_path)
    assert [trial.value for trial in results.ranked] == [2.0, None]
    assert results.best is None  # more or less may be better


@pytest.mark.parametrize("config", [RANDOM, REPEATS, METRICS])
def test_an_empty_sweep(make_results, config):
    results = make_results(config)
    assert (results.best, list(results.ranked), results.counts) == (None, [], {})
    assert len(results.frame) == 0
    assert "params.x" in results.frame.columns


@pytest.mark.parametrize("config", [RANDOM, REPEATS, METRICS])
def test_a_sweep_of_failures(make_results, config):
    results = make_results(config, ([], "failed"), ([], "queued"))
    assert results.best is None
    assert len(results.ranked) == 2


def test_results_are_the_data_with_analyses(make_results, tmp_path):
    results = make_results(RANDOM, (losses(0.5), "finished"))
    data = SweepReader(tmp_path).read()
    assert type(results) is SweepResults
    assert type(data) is SweepData
    assert [getattr(results, field.name) for field in fields(data) if field.compare] == [
        getattr(data, field.name) for field in fields(data) if field.compare
    ]
    with pytest.raises(FrozenInstanceError):
        results.trials = []


def test_a_sweep_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SweepDirectoryError, match="No sweep 'abcd1234'"):
        open_sweep("abcd1234")


class TestRepeats:
    def test_the_best_is_the_configuration_with_the_best_mean_of_all_runs(self, make_results):
        # After the first two runs of 0: 1 is tried, is not better, and 2 is.
        results = make_results(REPEATS, *((losses(v), "finished") for v in (0.5, 0.7, 0.65, 0.1, 0.2, 0.05)))
        first, *_ = results.configurations
        assert [run.params["seed"] for run in first.runs] == [7, 8]
        assert first.mean == pytest.approx(0.15)
        assert results.best is first.runs[0]
        assert [trial.number for trial in results.ranked][:2] == [3, 4]

    def test_the_frame_has_the_seeds(self, make_results):
        frame = make_results(REPEATS, (losses(0.5), "finished"), (losses(0.7), "finished")).frame
        assert list(frame["params.seed"]) == [7, 8]
        assert frame["params.x"].nunique() == 1

    def test_json_has_the_mean(self, make_results):
        results = make_results(REPEATS, (losses(0.5), "finished"), (losses(0.7), "finished"))
        found = format_trial_json(results, results.best)
        assert found["metric"] == 0.5
        assert found["mean"] == pytest.approx(0.6)
        assert found["runs"] == [0, 1]
        assert format_trial_json(results, results.trials[1])["deviation"] == pytest.approx(0.1 * 2**0.5)

    def test_a_failed_run_of_a_grid_is_not_the_best_one(self, make_results):
        config = REPEATS | {"method": "grid", "parameters": {"x": {"values": [1]}}}
        results = make_results(config, ([], "failed"), (losses(0.5), "finished"))
        assert results.best.number == 1

    def test_a_running_one_has_a_place_in_the_table(self, make_results):
        results = make_results(REPEATS, (losses(0.5), "running"), (losses(0.7), "finished"), ([], "failed"))
        assert [trial.number for trial in results.ranked] == [1, 2, 0]  # 2 was 1's second run
        assert results.best.number == 1


class TestMetrics:
    def report(self, loss, accuracy):
        return ([{"loss": loss, "accuracy": accuracy}], "finished")

    def test_the_front_comes_first(self, make_results):
        results = make_results(METRICS, self.report(2, 0.5), self.report(1, 0.6), self.report(3, 0.9), ([], "failed"))
        assert [trial.number for trial in results.front] == [1, 2]
        assert [trial.number for trial in results.ranked] == [1, 2, 0, 3]
        assert results.best.number == 1

    def test_a_value_that_is_no_number(self, make_results):
        results = make_results(METRICS, self.report(math.nan, 0.5), self.report(1, 0.1))
        assert [trial.number for trial in results.front] == [1]
        found = replace_nonfinite(format_trial_json(results, results.trials[0]))
        assert found["metrics"] == {"loss": None, "accuracy": 0.5}

    def test_the_frame(self, make_results):
        frame = make_results(METRICS, self.report(2, 0.5), self.report(1, 0.6)).frame
        assert list(frame["metrics.accuracy"]) == [0.5, 0.6]
        assert list(frame["metrics.loss"]) == [2, 1]


def test_conditional_parameters_in_the_frame(make_results):
    parameters = {"kind": {"values": ["a", "b"]}, "y": {"min": 1, "max": 9, "when": {"kind": "b"}}}
    frame = make_results(RANDOM | {"method": "grid", "parameters": parameters}, *[(losses(1.0), "finished")] * 3).frame
    assert list(frame["params.kind"]) == ["a", "b", "b"]
    assert list(frame["params.y"].isna()) == [True, False, False]
