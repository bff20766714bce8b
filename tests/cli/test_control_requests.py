"""``wandbsweep pause``, ``resume``, ``stop`` and ``cancel``, and what ``status`` says about the agents."""

import json

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.results.liveness import _format_age

SPEC = load_sweep(RANDOM | {"run_cap": 3})


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep whose one agent has a trial."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wandbsweep.controllers.embedded.study._MAX_AGE_S", 0.0)
    controller = create_sweep(SPEC, "outputs/abcd1234")
    yield controller, controller.ask("a")
    controller.close()


def test_pause_and_resume(sweep, run_command):
    controller, _ = sweep
    assert run_command("pause") == "abcd1234: paused; 1 trial still to finish\n"
    assert not controller.ready("a")
    assert "Paused; resume with: wandbsweep resume abcd1234" in run_command("status")
    assert run_command("resume") == "abcd1234: running\n"
    assert controller.ready("a")


def test_stop_finishes_running_trials(sweep, run_command):
    controller, trial = sweep
    run_command("stop", "abcd1234")
    assert controller.ask("a") is None
    assert not controller.report(trial, 0, {"loss": 1.0}).stop
    controller.complete(trial, Outcome.finished())
    assert "Over: the sweep was stopped." in run_command("status")


def test_cancel_stops_running_trials(sweep, run_command):
    controller, trial = sweep
    output = json.loads(run_command("cancel", "--json"))
    assert output == {"sweep_id": "abcd1234", "order": "cancelled", "before": "running", "running": 1}
    assert controller.report(trial, 0, {"loss": 1.0}).stop


def test_a_stopped_sweep_is_not_resumed(sweep, run_command):
    run_command("stop")
    assert "was stopped, not paused" in run_command("resume", status=1)


def test_no_sweep(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "There is no sweep in" in run_command("pause", status=2)


def test_status_says_whether_an_agent_is_alive(sweep, run_command):
    controller, _ = sweep
    assert "No agent is running" not in run_command("status")
    assert json.loads(run_command("status", "--json"))["alive"]
    controller.close()
    assert "No agent is running" in run_command("status")
    assert not json.loads(run_command("status", "--json"))["alive"]


@pytest.mark.parametrize(("seconds", "shown"), [(12.3, "12 s"), (150, "2 min"), (7300, "2 h"), (200_000, "2 d")])
def test_how_long_ago(seconds, shown):
    assert _format_age(seconds) == shown
