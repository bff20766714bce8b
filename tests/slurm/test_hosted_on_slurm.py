"""A sweep of W&B's whose agents are SLURM's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosted.parts import QUICK_CLIENT, find_key, make_environment
from tests.hosted.server import WandbServer
from tests.slurm.sweeper import Sweeper


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as running:
        yield running


@pytest.mark.slow  # tests/hosted has jobs of submitit
def test_trials_are_runs_of_the_sweep(tiny: Sweeper, server: WandbServer, tmp_path: Path) -> None:
    there = {**make_environment(server, tmp_path), **QUICK_CLIENT, "WANDB_MODE": "online"}
    results = tiny.run("hydra.sweeper.controller=wandb", "++sweep.run_cap=2", "hydra.sweeper.agents=2", **there)
    ((sweep_id, _),) = server.sweeps.items()
    assert results.counts == {"finished": 2}
    runs = {run.facts["displayName"]: run for run in server.list_runs(sweep_id)}
    assert sorted(runs) == [f"{sweep_id}-{trial.number}" for trial in results.trials]
    for trial in results.trials:
        run = runs[f"{sweep_id}-{trial.number}"]
        assert (run.state, run.params, run.begun) == ("finished", trial.params, 1)
        assert run.values("loss") == list(trial.reports.values())
        assert tiny.watched(trial.number)[0]["SLURM_JOB_ID"]
    assert list(results.directory.glob(".submitit/*/*_submission.sh"))
    assert find_key(tmp_path) == []
