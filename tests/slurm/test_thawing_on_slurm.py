"""Freeze and thaw on a SLURM cluster whose jobs are preempted: trials change agents, and train no epoch twice."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from scripts.daemons import wait_until
from scripts.slurm.cluster import Cluster
from tests.slurm import watch
from tests.slurm.conftest import ROOT
from tests.slurm.sweeper import Sweeper
from wandbsweep.controllers.trial_entry import CLAIM
from wandbsweep.results.reader import SweepReader

EPOCHS = 8
TIMEOUT_S = 900
SWEEP = [
    *("sweep=digits_bayes", "sweep.run_cap=8", "sweep.early_terminate={type: thaw, min_iter: 1}"),
    *("model=mlp", "logger=none", f"trainer.max_epochs={EPOCHS}", "hydra.sweeper.agents=3"),
]


@pytest.mark.slow
def test_thawed_trials_train_each_epoch_once_however_often_they_are_preempted(slurm: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "train.py", "-m", "hydra/sweeper=wandbsweep", *SWEEP]
    sweeper = Sweeper(slurm, ROOT, command, tmp_path / "sweep")
    with sweeper.start() as process:
        requeue_a_thawed_trial(sweeper)
        preempt_all(sweeper)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, f"{out}\n{err}\n{sweeper.logs()}"
    results = sweeper.results()
    assert len(results.trials) == 8
    assert {trial.state for trial in results.trials} <= {"finished", "frozen"}
    assert results.best.state == "finished"
    for trial in results.trials:
        lines = (sweeper.directory / ".sweep" / "reports" / f"{trial.number}.jsonl").read_text().splitlines()
        steps = [json.loads(line)[0] for line in lines]
        assert steps == list(range(EPOCHS if trial.state == "finished" else len(steps)))
        assert 0 < len(sweeper.watched(trial.number)) <= trial.starts  # one may be preempted before its job begins
    assert sum(trial.thaws for trial in results.trials) > 0
    assert max(trial.attempts for trial in results.trials) > 1
    stored = SweepReader(sweeper.directory).read().stored
    assert stored is not None
    agents: dict[int, set[str]] = defaultdict(set)
    for attempt in stored.attempts:
        if (number := stored.table.find_number(attempt.key)) is not None:
            agents[number].add(attempt.attributes[CLAIM]["agent"])
    assert max(map(len, agents.values())) > 1


def requeue_a_thawed_trial(sweeper: Sweeper) -> None:
    """Requeue the job that trains a trial which was taken up again: TERM at once, and a new start soon after."""

    def find() -> dict[str, Any] | None:
        running = (starts[-1] for starts in read_starts(sweeper) if len(starts) > 1)
        return next((start for start in running if "ended" not in start), None)

    wait_until(lambda: find() is not None, "a thawed trial", within_s=TIMEOUT_S)
    if start := find():
        sweeper.cluster.requeue(start["SLURM_JOB_ID"])


def preempt_all(sweeper: Sweeper) -> None:
    """Have a partition that goes before preempt every agent while trials train."""
    before = sum(map(len, read_starts(sweeper)))
    wait_until(lambda: sum(map(len, read_starts(sweeper))) > before, "another trial", within_s=TIMEOUT_S)
    cluster = sweeper.cluster
    cluster.submit("true", "--exclusive", f"--nodes={cluster.size.nodes}", partition="high")


def read_starts(sweeper: Sweeper) -> list[list[dict[str, Any]]]:
    """Return, for each trial that was started, where and when it ran."""
    return [watch.read(file.parent) for file in sweeper.directory.glob("*/watched.jsonl")]
