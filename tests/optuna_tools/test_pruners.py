"""Optuna's pruners, and `auto` in the same controllers, as stopping rules."""

import json
import math
import subprocess
import sys

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep

MEDIAN = {"type": "median", "startup": 2}
ASHA = {"type": "asha", "min_iter": 1, "eta": 2}
WILCOXON = {"type": "wilcoxon"}
AUTO = {"type": "auto"}


def config(rule, **metric):
    return RANDOM | {"metric": {"name": "loss", **metric}, "early_terminate": rule}


def sweep(rule, **metric):
    return create_sweep(load_sweep(config(rule, **metric)), seed=0)


def train(controller, values, trial=None):
    """Run a trial that reports ``values`` until it is stopped; return the last decision."""
    trial = trial or controller.ask("a")
    for step, value in enumerate(values):
        decision = controller.report(trial, step, {"loss": value})
        if decision.stop:
            controller.complete(trial, Outcome.stopped(decision.reason))
            return decision
    controller.complete(trial, Outcome.finished())
    return decision


def states(controller):
    return [(trial.state, len(trial.reports)) for trial in controller.trials()]


def test_median_stops_what_is_worse_than_the_median():
    controller = sweep(MEDIAN)
    for values in ([3, 2, 1], [4, 3, 2], [9, 9, 9], [2, 2.5, 2.5]):
        decision = train(controller, values)
    assert states(controller) == [("finished", 3), ("finished", 3), ("stopped", 1), ("stopped", 3)]
    assert decision.reason == "median: 2.5 at step 2 does not keep up with the other trials"


def test_median_waits_for_its_trials_and_its_steps():
    controller = sweep({"type": "median", "startup": 3, "min_iter": 2})
    for values in ([1, 1, 1], [1, 1, 1], [9, 9, 9], [9, 9, 9]):
        train(controller, values)
    assert states(controller) == [("finished", 3)] * 3 + [("stopped", 3)]


def test_median_when_maximizing():
    controller = sweep(MEDIAN, goal="maximize")
    for values in ([0.5, 0.6], [0.5, 0.6], [0.1, 0.1], [0.7, 0.8]):
        train(controller, values)
    assert states(controller) == [("finished", 2), ("finished", 2), ("stopped", 1), ("finished", 2)]


def test_asha_lets_the_best_continue():
    controller = sweep(ASHA)
    for values in ([1] * 4, [2] * 4, [0.5] * 4, [3] * 4):
        train(controller, values)
    assert states(controller) == [("finished", 4), ("stopped", 2), ("finished", 4), ("stopped", 2)]


def test_asha_counts_a_released_trial_once():
    controller = sweep(ASHA)
    trial = controller.ask("a")
    for attempt in range(4):
        assert not controller.report(trial, 1 + attempt, {"loss": 5.0 - attempt}).stop
        controller.release(trial, "lost")
        trial = controller.ask("a")
    controller.complete(trial, Outcome.finished())
    newest = controller._storage.read_attempt(trial.key)
    assert newest.attributes["completed_rung_0"] == 5.0  # what it had when it reached the rung
    assert not train(controller, [1.0, 1.0]).stop
    # Were each attempt one of the field, this would be in its better half.
    assert train(controller, [2.0, 2.0]).stop


def test_wilcoxon_stops_what_is_worse_than_the_best_step_by_step():
    controller = sweep(WILCOXON)
    train(controller, [0.1, 0.2, 0.15, 0.3, 0.2, 0.1])
    decision = train(controller, [0.5, 0.6, 0.55, 0.7, 0.6, 0.5])
    assert decision.reason.startswith("wilcoxon: ")
    assert not train(controller, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]).stop
    assert states(controller)[1][1] < 6


@pytest.mark.parametrize("rule", [MEDIAN, ASHA, WILCOXON, AUTO])
def test_the_first_trial_is_never_stopped(rule):
    controller = sweep(rule)
    assert not train(controller, [5.0] * 10).stop


@pytest.mark.parametrize("rule", [MEDIAN, ASHA, WILCOXON, AUTO])
def test_values_that_are_no_numbers_are_survived(rule):
    controller = sweep(rule)
    train(controller, [1.0, math.nan, 1.0, math.inf])
    train(controller, [math.nan] * 4)
    train(controller, [1.0] * 6)
    train(controller, [1.0, math.nan, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert {state for state, _ in states(controller)} <= {"finished", "stopped", "failed"}


def test_auto_stops_once_three_trials_have_ended():
    controller = sweep(AUTO, goal="maximize")
    curves = [[0.5, 0.6, 0.7, 0.8], [0.4, 0.5, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4], [0.1, 0.9, 0.9, 0.9], [0.6] * 4]
    reasons = [train(controller, curve).reason for curve in curves]
    assert states(controller) == [("finished", 4)] * 3 + [("stopped", 1), ("finished", 4)]
    assert reasons[3] == "auto: 0.1 at best is below 0.4, the limit at iteration 1 (tau 0.67)"


def test_a_task_that_reports_nothing():
    controller = sweep(WILCOXON)
    controller.complete(controller.ask("a"), Outcome.finished(0.1))
    assert not train(controller, [1.0] * 4).stop


@pytest.mark.parametrize("rule", [MEDIAN, ASHA, WILCOXON, AUTO])
def test_a_report_after_the_end_is_answered_by_a_stop(rule):
    controller = sweep(rule)
    trial = controller.ask("a")
    train(controller, [1.0, 1.0], trial=trial)
    assert controller.report(trial, 2, {"loss": 1.0}).stop


@pytest.mark.parametrize("rule", [MEDIAN, ASHA, WILCOXON, AUTO])
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_verdicts_come_from_the_store(rule, kind, tmp_path):
    """One controller for all trials, or another one for each report: the same verdicts."""
    curves = [[3, 2, 1, 1], [4, 3, 2, 2], [9, 9, 9, 9], [2, 2, 1, 1], [5, 5, 5, 5], [1, 1, 1, 1]]
    alone = sweep(rule)
    wanted = [train(alone, curve).reason for curve in curves]
    spec = load_sweep(config(rule))
    where = {"path": tmp_path} if kind == "journal" else {"storage": f"sqlite:///{tmp_path}/sweep.db"}
    found = []
    for curve in curves:
        trial = create_sweep(spec, **where, seed=0).ask("a")
        for step, value in enumerate(curve):
            controller = create_sweep(spec, **where)
            decision = controller.report(trial, step, {"loss": value})
            if decision.stop:
                break
        controller.complete(trial, Outcome.stopped(decision.reason) if decision.stop else Outcome.finished())
        found.append(decision.reason)
    assert found == wanted
    assert any(found)


AGENT = """
import sys, json
from wandbsweep import create_sweep, load_sweep, Outcome
controller = create_sweep(load_sweep(json.loads(sys.argv[1])), sys.argv[2])
for _ in range(6):
    trial = controller.ask(sys.argv[3])
    for step in range(16):
        decision = controller.report(trial, step, {"loss": trial.params["x"] + 1 / (step + 1)})
        if decision.stop:
            break
    controller.complete(trial, Outcome.stopped(decision.reason) if decision.stop else Outcome.finished())
"""


@pytest.mark.parametrize("rule", [MEDIAN, ASHA, AUTO])
def test_processes_on_one_journal(rule, tmp_path):
    given = config(rule)
    create_sweep(load_sweep(given), tmp_path, seed=0).close()
    command = [sys.executable, "-c", AGENT, json.dumps(given), str(tmp_path)]
    agents = [subprocess.Popen([*command, str(k)]) for k in range(3)]
    assert [agent.wait(timeout=60) for agent in agents] == [0] * 3
    trials = create_sweep(load_sweep(given), tmp_path).trials()
    assert {trial.state for trial in trials} == {"finished", "stopped"}
    by_state = {s: [t.params["x"] for t in trials if t.state == s] for s in ("finished", "stopped")}
    assert min(by_state["finished"]) < min(by_state["stopped"])
    assert all(len(trial.reports) == 16 for trial in trials if trial.state == "finished")
