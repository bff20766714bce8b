"""Sweeps with several metrics: the Pareto front, and what bayes optimises."""

import math

import numpy as np
import optuna
import pytest

from tests.configurations import METRICS
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.controllers.open import open_embedded
from wandbsweep.search.pareto import find_front, scalarise
from wandbsweep.spec.sweep_spec import Metric
from wandbsweep.sweep.launch_record import ControllerOptions
from wandbsweep.trial import TrialRecord

LOSS, ACCURACY = Metric("loss"), Metric("accuracy", "maximize")


def record(number, loss, accuracy, state="finished"):
    metrics = {k: v for k, v in {"loss": loss, "accuracy": accuracy}.items() if v is not None}
    return TrialRecord(number, state, {"x": 0.5}, metrics=metrics)


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(1, 0.5), (2, 0.9), (3, 0.8)], [0, 1]),
        ([(1, 0.5), (1, 0.5)], [0, 1]),  # equals do not dominate each other
        ([(1, 0.5), (1, 0.6)], [1]),
        ([(1, 0.5), (0, math.nan)], [0]),
        ([(1, 0.5), (0, math.inf)], [0]),
        ([(1, 0.5), (0, None)], [0]),
        ([(-3, 0), (-2, 1), (-1, 2), (-2, 0)], [0, 1, 2]),
        ([], []),
    ],
)
def test_the_front(points, best):
    trials = [record(number, *point) for number, point in enumerate(points)]
    assert [trial.number for trial in find_front(trials, [LOSS, ACCURACY])] == best


def test_only_trials_that_ended_well_are_on_the_front():
    states = ["finished", "stopped", "running", "failed", "crashed", "queued"]
    trials = [record(number, 1, 1, state) for number, state in enumerate(states)]
    assert [trial.number for trial in find_front(trials, [LOSS, ACCURACY])] == [0, 1]


def test_each_proposal_draws_new_weights_of_the_metrics():
    spec = load_sweep(METRICS | {"method": "bayes"})
    trials = [record(0, 0.0, 0.0), record(1, 1.0, 1.0), record(2, 9, 9, "running"), record(3, math.nan, 1.0)]
    best = set()
    for seed in range(20):
        single, weighed = scalarise(spec, trials, np.random.default_rng(seed))
        assert single.metrics == ()
        assert single.goal == "minimize"
        values = [trial.value for trial in weighed]
        assert values[2:] == [None, None]
        assert all(0 <= value <= 1.05 for value in values[:2])
        best.add(int(np.argmin(values[:2])))
    assert best == {0, 1}


def finish(controller, trial, **metrics):
    controller.report(trial, 0, metrics)
    controller.complete(trial, Outcome.finished())


@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_trials_with_every_method(method, kind, tmp_path):
    parameters = {"x": {"values": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]}}
    spec = load_sweep(METRICS | {"method": method, "parameters": parameters, "run_cap": 6})
    where = {"path": tmp_path} if kind == "journal" else {"storage": f"sqlite:///{tmp_path}/sweep.db"}
    controller = create_sweep(spec, **where, seed=0)
    for number, trial in enumerate(iter(lambda: controller.ask("a"), None)):
        x = trial.params["x"]
        finish(controller, trial, loss=math.nan if number == 2 else x, accuracy=math.sqrt(x), other=1.0)
    trials = create_sweep(spec, **where).trials()
    assert [trial.state for trial in trials] == ["finished"] * 6
    assert math.isnan(trials[2].metrics["loss"])
    assert {t.params["x"] for t in find_front(trials, spec.metrics)} == {t.params["x"] for t in trials if t.number != 2}


def test_optuna_sees_a_study_of_several_objectives(tmp_path):
    controller = create_sweep(load_sweep(METRICS), storage=f"sqlite:///{tmp_path}/sweep.db", seed=0)
    for loss, accuracy in [(1.0, 0.5), (2.0, 0.4), (0.5, math.nan)]:
        finish(controller, controller.ask("a"), loss=loss, accuracy=accuracy)
    controller.complete(controller.ask("a"), Outcome.stopped("enough"))
    controller.complete(controller.ask("a"), Outcome.failed("no luck"))
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/sweep.db")
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [trial.values for trial in study.best_trials] == [[1.0, 0.5]]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED", "FAIL"]


def test_a_missing_metric_fails_the_trial_and_is_named():
    controller = create_sweep(load_sweep(METRICS), seed=0)
    finish(controller, controller.ask("a"), loss=1.0)
    (trial,) = controller.trials()
    assert trial.state == "failed"
    assert trial.reason.startswith("the metric 'accuracy' was never reported")
    assert "reported: 'loss'" in trial.reason


def test_metrics_may_come_in_separate_reports():
    controller = create_sweep(load_sweep(METRICS), seed=0)
    trial = controller.ask("a")
    controller.report(trial, 0, {"loss": 1.0})
    controller.report(trial, 1, {"accuracy": 0.5})
    controller.report(trial, 2, {"loss": 0.9})
    controller.release(trial, "lost")
    again = controller.ask("b")
    controller.complete(again, Outcome.finished())
    assert controller.trials()[0].metrics == {"loss": 0.9, "accuracy": 0.5}
    assert controller.report(again, 3, {"loss": 0.1}).stop  # it is closed


def test_a_sweep_whose_script_never_gives_a_metric_is_aborted():
    controller = open_embedded(None, load_sweep(METRICS), ControllerOptions(max_failures=5), study_name=None)
    finish(controller, controller.ask("a"), loss=1.0)
    assert controller.completion().aborted


def test_bayes_covers_the_front():
    config = METRICS | {"method": "bayes", "metrics": [{"name": "a"}, {"name": "b"}]}
    controller = create_sweep(
        load_sweep(config | {"parameters": METRICS["parameters"] | {"y": {"min": 0.0, "max": 1.0}}}), seed=0
    )
    for _ in range(20):
        trial = controller.ask("a")
        x, y = trial.params["x"], trial.params["y"]
        finish(controller, trial, a=x**2 + y, b=(1 - x) ** 2 + y)
    best = find_front(controller.trials(), controller.spec.metrics)
    xs = sorted(trial.params["x"] for trial in best)
    assert min(trial.params["y"] for trial in best) < 0.05
    assert xs[0] < 0.3
    assert xs[-1] > 0.7
