"""Trials that fail on a bad node are given to other agents."""

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep

SPEC = load_sweep(RANDOM | {"run_cap": 2})


def test_trials_that_fail_on_a_bad_node_are_given_to_others(tmp_path):
    grid = load_sweep({"method": "grid", "parameters": {"x": {"values": list(range(8))}}})
    controller = create_sweep(grid, tmp_path)
    controller.complete(controller.ask("good"), Outcome.finished())
    suspects = []
    while trial := controller.ask("bad"):
        assert controller.reassign_suspect(trial, "CUDA error")
        suspects.append(trial.number)
    assert suspects == [1, 2, 3]  # and then it asks no more
    rest = []
    while trial := controller.ask("good"):
        controller.complete(trial, Outcome.finished())
        rest.append(trial.number)
    assert sorted(rest) == [1, 2, 3, 4, 5, 6, 7]
    controller.close()


def test_a_trial_that_fails_on_two_nodes_has_failed(tmp_path):
    controller = create_sweep(SPEC, tmp_path)
    keep = controller.ask("good")
    trial = controller.ask("bad")
    assert controller.reassign_suspect(trial, "no")
    again = controller.ask("other")
    assert again.number == trial.number
    assert not controller.reassign_suspect(again, "no")
    controller.complete(keep, Outcome.finished(1.0))
    controller.close()


def test_a_failure_without_other_agents_is_a_failure(tmp_path):
    controller = create_sweep(SPEC, tmp_path)
    assert not controller.reassign_suspect(controller.ask("a"), "broken script")
    controller.close()
