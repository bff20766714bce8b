"""What the launching process says of agents that start, and of trials that are not done when they have ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from wandbsweep import TrialRecord, load_sweep
from wandbsweep.launch.messages import describe_start, describe_unfinished
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.sweep.launch_record import Application

SPEC = load_sweep({"method": "grid", "parameters": {"a": {"values": [1, 2]}}})


@pytest.mark.parametrize(
    ("states", "total", "is_over", "expected"),
    [
        (["finished", "failed"], 2, True, ""),
        (["finished"], None, False, "The sweep is not over."),
        (["running"], 1, True, "1 trial still shows as running (another agent's, or lost with it)."),
        (["queued"], 3, False, "1 trial was given back; 2 were never started."),
        (
            ["running", "running", "queued"],
            3,
            False,
            "2 trials still show as running (another agent's, or lost with it); 1 was given back.",
        ),
    ],
)
def test_unfinished_trials(states: list[str], total: int | None, is_over: bool, expected: str) -> None:
    trials = [TrialRecord(number, state, {}) for number, state in enumerate(states)]
    assert describe_unfinished(SweepData(Path(), SPEC, trials), total, is_over=is_over) == expected


@pytest.mark.parametrize(
    ("agents", "isolation", "queued", "expected"),
    [
        ([0], "none", False, "agent 0 is starting"),
        ([2, 3, 4], "process", False, "agents 2 to 4 are starting (importing train.py)"),
        ([0], "process", True, "agent 0 is submitted, to start when the scheduler starts the job"),
    ],
)
def test_how_agents_start(agents, isolation, queued, expected):
    application = Application("/home", "config", "train", ["python", "src/train.py"])
    assert describe_start(agents, application, isolation, queued=queued) == expected
