"""Trials that are trained by the two tasks of a SLURM job, on one node or on two."""

from __future__ import annotations

import time

import pytest

from scripts.daemons import find_free_ports
from tests.apps.ddp.notes import assert_both_trained_the_same, read_notes
from tests.slurm.sweeper import TIMEOUT_S, Sweeper

ONE_NODE = ["hydra.launcher.tasks_per_node=2"]
TWO_NODES = ["hydra.launcher.nodes=2", "nodes=2", "devices=1"]


def choose_port() -> dict[str, str]:
    """Lightning derives its port from the job's id, and the clusters of parallel tests have similar ids."""
    return {"MASTER_PORT": str(find_free_ports(1)[0])}


@pytest.mark.slow  # tests/plugin/test_ddp.py has a job of two tasks
def test_both_ranks_train_the_same_and_stop_at_the_same_step(ddp: Sweeper) -> None:
    results = ddp.run(*ONE_NODE, **choose_port())
    assert_both_trained_the_same(ddp.directory, results.trials, ["finished", "stopped", "finished"])


@pytest.mark.slow
def test_both_ranks_resume_from_the_same_checkpoint(ddp: Sweeper) -> None:
    trial = ddp.directory / "0"
    with ddp.start(*TWO_NODES, "++sweep.run_cap=1", "act=wait", "epochs=8", **choose_port()) as process:
        try:
            until = time.monotonic() + TIMEOUT_S
            while not all((trial / f"rank{rank}.jsonl").exists() for rank in (0, 1)):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until, ddp.logs()
                time.sleep(0.1)
            time.sleep(1)
            job = ddp.watched(0)[0]["SLURM_JOB_ID"]
            ddp.cluster.run("scancel", "--signal=USR2", job)  # as submitit asks SLURM to do before a time limit
            out, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 0, f"{out}\n{err}\n{ddp.logs()}"
    assert [(trial.state, trial.attempts) for trial in ddp.results().trials] == [("finished", 2)]
    seen = [read_notes(trial, rank) for rank in (0, 1)]
    steps = [[note.get("began", note.get("ended")) for note in rank] for rank in seen]
    assert steps[0] == steps[1]
    first, again, end = steps[0]
    assert 0 == first < again < end == 32
