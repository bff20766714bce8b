"""``wandbsweep run --launcher slurm``: a script that uses wandb, on a real SLURM."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.slurm.cluster import Cluster
from tests.applications import copy_app
from tests.launch.test_program_sweeps import find_sweep, make_environment
from wandbsweep import open_sweep

SMALL = [f"--launcher-option={option}" for option in ("cpus_per_task=1", "mem_gb=1", "slurm_comment=sweep")]


@pytest.mark.slow
def test_a_sweep_of_a_wandb_script(slurm: Cluster, tmp_path: Path) -> None:
    app = copy_app("wandb_script", tmp_path / "app", "train.py")
    command = [sys.executable, "-m", "wandbsweep.cli", "run", "sweep.yaml", "--agents", "2", "--seed", "3"]
    environment = {**make_environment(app.directory, PLACE=str(app.directory)), **slurm.environment}
    done = subprocess.run(
        [*command, "--launcher", "slurm", *SMALL],
        cwd=app.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    sweep = find_sweep(app)
    trials = open_sweep(sweep).trials
    assert len(trials) == 5
    assert {trial.state for trial in trials} == {"finished", "stopped"}
    assert all(len(trial.reports) == 9 for trial in trials if trial.state == "finished")
    assert len(list(sweep.glob("*/wandb/offline-run-*/run-*.wandb"))) == 5
    jobs = [re.fullmatch(r"(\d+)_\d+", path.name) for path in (sweep / ".submitit").iterdir()]
    (array,) = {job[1] for job in jobs if job}
    tasks = slurm.await_accounting(array, runs=2)
    assert {task["State"] for task in tasks} == {"COMPLETED"}


@pytest.mark.slow
def test_agents_that_are_left_alone_and_requeued(slurm: Cluster, tmp_path: Path) -> None:
    """The jobs need no launching process; one that is preempted gives its trial back and continues it."""
    (tmp_path / "train.sh").write_text(
        "echo loss=$WANDBSWEEP_ATTEMPT\ntouch started.$WANDBSWEEP_ATTEMPT\n"
        "test $WANDBSWEEP_ATTEMPT != 1 || exec sleep 1000\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "{program: train.sh, command: [bash, '${program}'], method: grid, metric: {name: loss, from: stdout}, "
        "parameters: {lr: {values: [1]}}}"
    )
    environment = {**make_environment(tmp_path), **slurm.environment}
    command = [sys.executable, "-m", "wandbsweep.cli", "run", "sweep.yaml", "--launcher", "slurm", "--detach", *SMALL]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Submitted 1 agent, which continue" in done.stdout
    wait_until((tmp_path / "started.1").exists)
    (sweep,) = (tmp_path / "outputs").iterdir()
    names = [re.match(r"(\d+)_", path.name) for path in sweep.glob(".submitit/*/*")]
    (job,) = {name[1] for name in names if name}
    subprocess.run(["scancel", "--signal=USR2", job], env=environment, check=True)
    wait_until((tmp_path / "started.2").exists)
    wait_until(lambda: open_sweep(sweep).trials[0].state == "finished")
    (trial,) = open_sweep(sweep).trials
    assert (trial.attempts, trial.value) == (2, 2.0)


def wait_until(condition: Callable[[], bool], *, within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
