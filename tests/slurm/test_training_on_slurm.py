"""The second article's sweep of train.py: a grid as an array of tasks, one trial each, two at once."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from scripts.slurm.cluster import Cluster
from tests.slurm.conftest import ROOT
from tests.slurm.sweeper import Sweeper

EPOCHS = 40
KILLED_AFTER = 20
TIMEOUT_S = 600
SMALL = [
    *("data=digits", "model=mlp", "logger=none", f"trainer.max_epochs={EPOCHS}", "trainer.precision=32-true"),
    *("hydra.sweeper.lease_s=3", "data.batch_size=32,64"),
]


@pytest.mark.slow
def test_the_array_of_the_second_article(slurm: Cluster, tmp_path: Path) -> None:
    """Of a network that trains in seconds. A task is killed while it trains, and a later one resumes its trial."""
    command = [sys.executable, "train.py", "-m", "experiment=resnet50_cifar10", "hydra/sweeper=wandbsweep", *SMALL]
    sweeper = Sweeper(slurm, ROOT, command, tmp_path / "sweep")
    with sweeper.start() as process:
        killed = kill_a_training(sweeper)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, f"{out}\n{err}\n{sweeper.logs()}"
    results = sweeper.results()
    grid = {(trial.params["optimizer.lr"], trial.params["data.batch_size"]) for trial in results.trials}
    assert grid == {(0.1, 32), (0.1, 64), (0.01, 32), (0.01, 64)}
    assert {(trial.state, len(trial.reports)) for trial in results.trials} == {("finished", EPOCHS)}
    assert {trial.number: trial.attempts for trial in results.trials} == {n: 1 + (n == killed) for n in range(4)}
    assert len(read_reports(sweeper, killed)) < EPOCHS + KILLED_AFTER  # it did not begin again
    array = sweeper.watched(killed)[0]["SLURM_ARRAY_JOB_ID"]
    tasks = slurm.await_accounting(array, runs=12)
    assert sorted(task["JobID"] for task in tasks) == sorted(f"{array}_{k}" for k in range(12))
    for task in tasks:
        assert sum(other["Start"] <= task["Start"] < other["End"] for other in tasks) <= 2


def kill_a_training(sweeper: Sweeper) -> int:
    """Kill the task of the first trial that has trained ``KILLED_AFTER`` epochs, and return the trial's number."""
    give_up = time.monotonic() + TIMEOUT_S
    while time.monotonic() < give_up:
        for number in range(4):
            if len(read_reports(sweeper, number)) >= KILLED_AFTER:
                (start,) = sweeper.watched(number)
                sweeper.cluster.run("scancel", "--signal=KILL", start["SLURM_JOB_ID"])
                return number
        time.sleep(0.02)
    raise TimeoutError(sweeper.logs())


def read_reports(sweeper: Sweeper, number: int) -> list[str]:
    file = sweeper.directory / ".sweep" / "reports" / f"{number}.jsonl"
    return file.read_text().splitlines() if file.exists() else []
