"""The profiles of launchers, and what an agent's process reads about itself."""

from __future__ import annotations

import signal

import pytest

from wandbsweep import launchers
from wandbsweep.errors import SweepError
from wandbsweep.launchers import LauncherProfile, Rank, find_profile, limit_jobs, read_rank, read_requeue_id

SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"
TARGETS = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher": "basic",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": "joblib",
    f"{SUBMITIT}.SlurmLauncher": "submitit_slurm",
    f"{SUBMITIT}.LocalLauncher": "submitit_local",
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": "unlisted",
}


@pytest.mark.parametrize(("target", "name"), TARGETS.items())
def test_launchers_are_recognised_by_their_class(target: str, name: str) -> None:
    assert find_profile(target).name == name


@pytest.mark.parametrize("target", [target for target in TARGETS if "Ray" not in target])
def test_the_installed_launchers_have_these_classes(target: str) -> None:
    module, _, name = target.rpartition(".")
    assert hasattr(pytest.importorskip(module), name)


@pytest.mark.parametrize(("name", "isolation"), [("basic", "none"), ("joblib", "process"), ("unlisted", "process")])
def test_only_under_the_basic_launcher_trials_run_in_the_agent(name: str, isolation: str) -> None:
    assert {find_profile(target).isolation for target in TARGETS if find_profile(target).name == name} == {isolation}


@pytest.mark.parametrize(("name", "key"), [("joblib", "n_jobs"), ("submitit_slurm", "array_parallelism")])
def test_a_launcher_runs_at_most_so_many_jobs_at_once(name: str, key: str) -> None:
    (target,) = (target for target, known in TARGETS.items() if known == name)
    launcher = {"_target_": target, key: 16}
    limit_jobs(launcher, None)
    assert launcher[key] == 16
    limit_jobs(launcher, 2)
    assert launcher[key] == 2


def test_a_launcher_that_starts_all_jobs_at_once_is_refused_and_basic_never_does() -> None:
    for target, name in TARGETS.items():
        launcher = {"_target_": target}
        if name in ("submitit_local", "unlisted"):
            with pytest.raises(SweepError, match=f"hydra/launcher={name} starts all .* joblib, submitit_slurm"):
                limit_jobs(launcher, 2)
        if name == "basic":
            limit_jobs(launcher, 2)
        assert launcher == {"_target_": target}


def test_a_new_launcher_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = LauncherProfile("cluster", r"plugin\.ClusterLauncher", detachable=True, read_rank=lambda: Rank(1, 2))
    monkeypatch.setattr(launchers, "LAUNCHERS", (cluster, *launchers.LAUNCHERS))
    assert find_profile("plugin.ClusterLauncher") is cluster
    assert read_rank() == Rank(1, 2)


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, Rank()),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}, Rank()),  # not a launcher's job
        (
            {"SUBMITIT_EXECUTOR": "slurm", "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"},
            Rank(3, 4, 1),
        ),
        (
            {
                "SUBMITIT_EXECUTOR": "local",
                "SUBMITIT_LOCAL_GLOBALID": "1",
                "SUBMITIT_LOCAL_NTASKS": "2",
                "SUBMITIT_LOCAL_LOCALID": "1",
            },
            Rank(1, 2, 1, found_by_torch=False),
        ),
    ],
)
def test_a_process_reads_its_rank(environment: dict[str, str], rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read_rank() == rank


def test_a_requeued_job_is_told_from_its_earlier_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert read_requeue_id() == ""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert read_requeue_id() == "7:2"


def test_submitit_preempts_by_usr2() -> None:
    assert tuple(launchers.PREEMPTION_SIGNALS) == (signal.SIGUSR2,)
