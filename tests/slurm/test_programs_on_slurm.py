"""``wandbsweep run --launcher slurm``: a script that uses wandb, on a real SLURM."""

import re
import subprocess
import sys
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
