"""``hydra.sweeper.isolation=process``, in whole sweeps."""

from __future__ import annotations

import pytest

from tests.applications import AGENTS, App

PROCESS = "hydra.sweeper.isolation=process"


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_every_trial_is_a_process_of_its_own(app: App, launcher: str) -> None:
    """test_sweeps.py has submitit's agents."""
    app.multirun("sweep=grid", PROCESS, *AGENTS[launcher])
    assert app.states() == ["finished"] * 6
    results = app.results()
    assert len({result["pid"] for result in results}) == 6
    assert {result["cwd"] for result in results} == {str(app.directory)}
    assert all(result["params"]["lr"] == result["cfg"]["lr"] for result in results)
    assert all((app.directory / "sweep" / str(n) / ".hydra" / "config.yaml").exists() for n in range(6))


def test_a_killed_trial_does_not_take_its_agent_along(app: App) -> None:
    app.multirun("sweep=grid", PROCESS, "act=die")
    states = app.states()
    assert [state for number, state in enumerate(states) if number != 1] == ["finished"] * 5
    assert states[1] == "crashed"
    assert "SIGKILL" in app.sweep().trials[1].reason


def test_a_failed_trial_leaves_its_traceback(app: App) -> None:
    app.multirun("sweep=grid", PROCESS, "fail=[2]")
    assert app.states().count("failed") == 1
    assert "no luck with" in (app.directory / "sweep/2/traceback.txt").read_text()


def test_a_plain_grid_returns_and_raises_as_ever(app: App) -> None:
    ended = app.multirun("lr=0.1,0.2", PROCESS, "fail=[1]", status=1)
    assert "ValueError: no luck with 0.2" in ended.err
