"""Freeze and thaw on a server: several agents, of which one is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.controllers.test_thawing import THAW, WHOLE, policy, train
from tests.services.fixtures import Database
from wandbsweep import create_sweep, load_sweep

__all__ = ["policy"]

FORK = multiprocessing.get_context("fork")
SPEC = load_sweep(THAW | {"run_cap": 6})


def run_agent(url: str, path: Path, name: str, *, dies: bool = False) -> None:
    """Train until the sweep is over, and note each step in a file; or die in the first trial that continues."""
    controller = create_sweep(SPEC, path, storage=url, lease_s=2.0)
    while (trial := controller.ask(name)) is not None:
        if dies and trial.resumed:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)  # so that all agents get trials
        steps = train(controller, trial)
        with (path / f"{name}.txt").open("a") as file:
            file.writelines(f"{trial.number} {step}\n" for step in steps)
    controller.close()


@pytest.mark.parametrize("server", ["postgres"])
def test_agents_share_frozen_trials(server: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(server)
    path = tmp_path / "sweep"
    controller = create_sweep(SPEC, path, storage=database.url, lease_s=2.0)
    agents = [
        FORK.Process(target=run_agent, args=(database.url, path, str(k)), kwargs={"dies": k == 0}) for k in range(3)
    ]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join(120)
    assert [agent.exitcode for agent in agents] == [-signal.SIGKILL, 0, 0]
    trials = controller.trials()
    assert {(trial.state, trial.thaws, len(trial.reports)) for trial in trials} == {("finished", 2, WHOLE)}
    assert Counter(trial.attempts for trial in trials) == {1: 5, 2: 1}
    steps = Counter(line for file in path.glob("*.txt") for line in file.read_text().splitlines())
    assert steps == Counter(f"{number} {step}" for number in range(6) for step in range(WHOLE))
    controller.close()
