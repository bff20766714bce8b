"""Whole sweeps on a SLURM cluster: a task of an array runs one trial, or many."""

from itertools import combinations
from typing import Any

import pytest

from tests.slurm.sweeper import Sweeper
from wandbsweep import SweepResults


def test_agents_that_run_many_trials(tiny: Sweeper) -> None:
    """test_training_on_slurm.py has trainings."""
    results = tiny.run("++sweep.run_cap=9", "hydra.sweeper.agents=3")
    watched = assert_each_ran_once_on_its_own_gpu(tiny, results, 9)
    (array,) = {seen["SLURM_ARRAY_JOB_ID"] for seen in watched}
    assert [trial.agent for trial in results.trials] == [seen["SLURM_ARRAY_TASK_ID"] for seen in watched]
    tasks = tiny.cluster.await_accounting(array, runs=3)
    assert {(task["JobID"], task["State"]) for task in tasks} == {(f"{array}_{k}", "COMPLETED") for k in range(3)}
    assert all("gres/gpu=1" in task["AllocTRES"] for task in tasks)


@pytest.mark.slow
def test_one_array_task_one_trial(tiny: Sweeper) -> None:
    results = tiny.run("++sweep.run_cap=5", "hydra.sweeper.count=1", "hydra.launcher.array_parallelism=2")
    watched = assert_each_ran_once_on_its_own_gpu(tiny, results, 5)
    (array,) = {seen["SLURM_ARRAY_JOB_ID"] for seen in watched}
    assert sorted(seen["SLURM_ARRAY_TASK_ID"] for seen in watched) == ["0", "1", "2", "3", "4"]
    tasks = tiny.cluster.await_accounting(array, runs=5)
    assert sorted(task["JobID"] for task in tasks) == [f"{array}_{k}" for k in range(5)]
    for task in tasks:  # array_parallelism is the throttle
        assert sum(other["Start"] <= task["Start"] < other["End"] for other in tasks) <= 2


def assert_each_ran_once_on_its_own_gpu(sweeper: Sweeper, results: SweepResults, count: int) -> list[dict[str, Any]]:
    """Assert it, and return what was noted of each trial, by number."""
    ended = [(trial.number, trial.state, trial.attempts) for trial in results.trials]
    assert ended == [(number, "finished", 1) for number in range(count)]
    watched = []
    for number in range(count):
        (seen,) = sweeper.watched(number)
        assert seen["CUDA_VISIBLE_DEVICES"] in ("0", "1")
        watched.append(seen)
    for one, other in combinations(watched, 2):
        if one["began"] < other["ended"] and other["began"] < one["ended"]:
            gpus = [(seen["SLURMD_NODENAME"], seen["CUDA_VISIBLE_DEVICES"]) for seen in (one, other)]
            assert gpus[0] != gpus[1]
    return watched
