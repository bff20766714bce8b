"""What the commands pause, resume, stop and cancel do to a running sweep."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import RANDOM
from wandbsweep import create_sweep, load_sweep

SPEC = load_sweep(RANDOM | {"run_cap": 2})


@pytest.fixture(params=["journal", "sqlite"])
def controllers(request, tmp_path):
    """Two controllers of one sweep: an agent's, and that of the command line."""
    url = f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else None
    pair = [create_sweep(SPEC, tmp_path / "sweep", storage=url) for _ in range(2)]
    yield pair
    for controller in pair:
        controller.close()


def test_a_paused_sweep_waits_until_it_is_resumed(controllers):
    controller, outside = controllers
    outside.command = "paused"
    assert not controller.ready("here")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(controller.ask, "here")
        time.sleep(0.2)
        assert not asked.done()
        outside.command = "running"
        assert asked.result(10).number == 0


def test_a_cancelled_sweep_stops_running_trials(controllers, monkeypatch):
    monkeypatch.setattr("wandbsweep.controllers.embedded.study._MAX_AGE_S", 0.0)
    controller, outside = controllers
    trial = controller.ask("here")
    outside.command = "cancelled"
    assert controller.report(trial, 0, {"loss": 1.0}).reason == "the sweep was cancelled"
    assert controller.ask("here") is None
