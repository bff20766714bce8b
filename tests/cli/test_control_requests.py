"""``wandbsweep pause``, ``resume``, ``stop`` and ``cancel``, and what ``status`` says of who is there."""

import json

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.cli import main as cli
from wandbsweep.results.liveness import _format_age

SPEC = load_sweep(RANDOM | {"run_cap": 3})


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep whose one agent has a trial."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wandbsweep.controllers.embedded.control_requests._AGE_S", 0.0)
    controller = create_sweep(SPEC, "outputs/abcd1234")
    yield controller, controller.ask("a")
    controller.close()


@pytest.fixture
def said(capsys):
    def said(*arguments, status=0):
        assert cli.main(arguments) == status
        return capsys.readouterr().out

    return said


def test_pause_and_resume(sweep, said):
    controller, _ = sweep
    assert said("pause") == "abcd1234: paused; 1 trial still to finish\n"
    assert not controller.ready("a")
    assert "Paused; resume with: wandbsweep resume abcd1234" in said("status")
    assert said("resume") == "abcd1234: running\n"
    assert controller.ready("a")


def test_stop_lets_finish_what_runs(sweep, said):
    controller, trial = sweep
    said("stop", "abcd1234")
    assert controller.ask("a") is None
    assert not controller.report(trial, 0, {"loss": 1.0}).stop
    controller.complete(trial, Outcome.finished())
    assert "Over: the sweep was stopped." in said("status")


def test_cancel_stops_what_runs(sweep, said):
    controller, trial = sweep
    told = json.loads(said("cancel", "--json"))
    assert told == {"sweep_id": "abcd1234", "order": "cancelled", "before": "running", "running": 1}
    assert controller.report(trial, 0, {"loss": 1.0}).stop


def test_what_was_stopped_is_not_resumed_but_joined(sweep, said):
    said("stop")
    assert "was stopped, not paused" in said("resume", status=1)


def test_an_order_to_no_sweep(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said("pause", status=2)


def test_status_tells_whether_anybody_is_there(sweep, said):
    controller, _ = sweep
    assert "No agent is running" not in said("status")
    assert json.loads(said("status", "--json"))["alive"]
    controller.close()
    assert "No agent is running" in said("status")
    assert not json.loads(said("status", "--json"))["alive"]


@pytest.mark.parametrize(("seconds", "shown"), [(12.3, "12 s"), (150, "2 min"), (7300, "2 h"), (200_000, "2 d")])
def test_how_long_ago(seconds, shown):
    assert _format_age(seconds) == shown
