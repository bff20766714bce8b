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


def run_until_refused(controller, agent):
    """Fail every trial that ``agent`` gets, and return their numbers."""
    numbers = []
    while trial := controller.ask(agent):
        numbers.append(trial.number)
        if not controller.reassign_suspect(trial, "CUDA error"):
            controller.complete(trial, Outcome.failed("CUDA error"))
    return numbers


def test_an_agent_that_breaks_after_its_first_success_stops_asking(tmp_path, caplog):
    controller = create_sweep(load_sweep(RANDOM | {"run_cap": 8}), tmp_path)
    for agent in ("good", "broken"):
        controller.complete(controller.ask(agent), Outcome.finished(0.5))
    held = controller.ask("good")
    failed = run_until_refused(controller, "broken")
    assert failed == [3, 4, 5]
    assert "agent broken failed 3 trials in a row while others do well" in caplog.text
    controller.complete(held, Outcome.finished(0.5))
    while trial := controller.ask("good"):
        controller.complete(trial, Outcome.finished(0.5))
    assert [trial.state for trial in controller.trials()] == ["finished"] * 8
    controller.close()


def test_trials_that_fail_everywhere_break_no_agent(tmp_path):
    controller = create_sweep(load_sweep(RANDOM | {"run_cap": 40}), tmp_path)
    for agent in ("a", "b"):
        controller.complete(controller.ask(agent), Outcome.finished(0.5))
    for _ in range(4):
        held = controller.ask("b")
        suspect = controller.ask("a")
        assert controller.reassign_suspect(suspect, "too large")
        controller.complete(held, Outcome.finished(0.5))
        again = controller.ask("b")
        assert again.number == suspect.number
        assert not controller.reassign_suspect(again, "too large")
        controller.complete(again, Outcome.failed("too large"))
    assert controller.ask("a") is not None
    controller.close()
