"""A new user's path: an empty folder, ``init``, a sweep, a report, the next sweep file, the final numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wandbsweep import open_sweep
from wandbsweep.cli.commands.init import FILES

SMALL = ["epochs=6", "++sweep.run_cap=8", "hydra.sweeper.seed=0"]


class Project:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *command: str, status: int = 0) -> tuple[str, str]:
        binaries = str(Path(sys.executable).parent)
        environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def wandbsweep(self, *arguments: str, status: int = 0) -> str:
        out, err = self.run(sys.executable, "-m", "wandbsweep.cli", *arguments, status=status)
        return err if status else out


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project made by ``init``, with a sweep of its own."""
    project = Project(tmp_path_factory.mktemp("project"))
    output = project.wandbsweep("init")
    assert "python train.py -m hydra/sweeper=wandbsweep" in output
    project.run("python", "train.py", "-m", "hydra/sweeper=wandbsweep", *SMALL)
    return project


def test_what_is_written(project: Project) -> None:
    assert all((project.directory / name).is_file() for name in FILES.values())
    assert "has train.py, conf/config.yaml, conf/sweep/first.yaml already" in project.wandbsweep("init", status=2)
    assert len((project.directory / "train.py").read_text().splitlines()) < 75


def test_elsewhere(tmp_path: Path) -> None:
    output = Project(tmp_path).wandbsweep("init", "new/one")
    assert "cd new/one && python train.py" in output
    assert (tmp_path / "new" / "one" / "train.py").exists()


def test_the_sweep(project: Project) -> None:
    states = [trial["state"] for trial in json.loads(project.wandbsweep("table", "--json"))]
    assert len(states) == 8
    assert set(states) <= {"finished", "stopped"}


def test_training_again_gives_every_number_of_the_table(project: Project) -> None:
    """To the last digit: at the end of a run that is as long, or for a stopped trial one that ends at its step."""
    (sweep,) = (file.parent for file in (project.directory / "outputs").glob("*/sweep.yaml"))
    results = open_sweep(sweep)
    assert results.counts.keys() == {"finished", "stopped"}
    for trial in results.ranked:
        step = results.find_step(trial)
        shorter = f" epochs={step + 1}" if trial.state == "stopped" else ""
        printed, _ = project.run("sh", "-c", f"{results.command(trial)}{shorter} hydra.run.dir=again")
        assert printed.startswith(f"Epoch {step} is the best: val/loss {trial.value:.9g}, ")
    best = json.loads(project.wandbsweep("best", "--json"))
    assert best["checkpoint"] == str(sweep / str(best["number"]) / "best.npz")
    shutil.rmtree(project.directory / "again")


def test_a_run_by_itself(project: Project) -> None:
    project.run("python", "train.py", "epochs=2", "test=true")


def test_the_report(project: Project) -> None:
    file = Path(project.wandbsweep("report").strip())
    assert "val/loss" in file.read_text()


def test_the_next_sweep(project: Project) -> None:
    project.wandbsweep("narrow", "--top", "0.6", "-o", "conf/sweep/second.yaml")
    place = "hydra.sweep.dir=outputs/second"
    project.run(
        "python", "train.py", "-m", "hydra/sweeper=wandbsweep", "sweep=second", place, *SMALL, "++sweep.run_cap=2"
    )
    assert len(open_sweep(project.directory / "outputs" / "second").trials) == 2
    project.run("rm", "-r", "outputs/second")


@pytest.fixture(scope="module")
def evaluation(project: Project) -> dict:
    # An edit after the sweep does not change what is evaluated.
    config = project.directory / "conf" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("batch_size: 50", "batch_size: broken"))
    try:
        return json.loads(project.wandbsweep("evaluate", "--seeds", "3", "--top", "2", "--json"))
    finally:
        config.write_text(text)


EXISTING = """
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    loss = 1.0
    for epoch in range(3):
        loss = loss * (1 - cfg.optimizer.lr)
{report}
    return loss

main()
"""


def test_an_existing_project(tmp_path: Path) -> None:
    """README, word for word; tests/plugin/test_existing_project.py does so with docs/existing-project.md."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (report,) = re.findall(r"```python\n(from wandbsweep import current_trial.*?)```", readme, re.DOTALL)
    sweep = "{method: random, metric: {name: val/loss}, run_cap: 3, parameters: {optimizer.lr: {min: 0.0, max: 0.1}}}"
    for name, text in {
        "train.py": EXISTING.format(report=textwrap.indent(report, " " * 8)),
        "conf/config.yaml": "defaults:\n  - sweep: null\n  - _self_\noptimizer: {lr: 0.1}\n",
        "conf/sweep/mine.yaml": sweep,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    project = Project(tmp_path)
    project.run("python", "train.py")
    project.run("python", "train.py", "-m", "hydra/sweeper=wandbsweep", "sweep=mine", "hydra.sweep.dir=outputs/done")
    results = open_sweep(tmp_path / "outputs" / "done")
    assert [trial.state for trial in results.trials] == ["finished"] * 3
    assert all(len(trial.reports) == 3 for trial in results.trials)


class TestEvaluate:
    def test_the_runs(self, evaluation: dict, project: Project) -> None:
        (sweep,) = (file.parent for file in (project.directory / "outputs").glob("*/sweep.yaml"))
        assert evaluation["metric"] == "test/loss"
        best, second = evaluation["configurations"]
        assert best["number"] == open_sweep(sweep).best.number
        assert best["values"].keys() == second["values"].keys() == {"1", "2", "3"}  # 0 is the sweep's own
        assert len(set(best["values"].values())) == 3
        assert best["mean"] == pytest.approx(sum(best["values"].values()) / 3)
        assert best["interval"][0] < best["mean"] < best["interval"][1]
        assert best["failed"] == {}

    def test_the_comparison(self, evaluation: dict) -> None:
        (pair,) = evaluation["comparisons"]
        assert pair["pairs"] == 3
        assert 0 <= pair["p"] <= 1

    def test_a_run_records_what_it_reported(self, evaluation: dict, project: Project) -> None:
        """The value of seed 2, from the training itself."""
        best = evaluation["configurations"][0]
        recorded = json.loads(
            (Path(evaluation["directory"]) / str(best["number"]) / "1" / "evaluation.json").read_text()
        )
        assert recorded["reported"]["test/loss"] == best["values"]["2"]
        assert set(recorded["reported"]) == {"val/loss", "val/accuracy", "test/loss", "test/accuracy"}

    def test_its_runs_are_not_the_newest_sweep(self, evaluation: dict, project: Project) -> None:
        """The newest sweep is still the one that was evaluated."""
        assert json.loads(project.wandbsweep("status", "--json"))["trials"] == 8

    def test_in_a_terminal(self, project: Project) -> None:
        output = project.wandbsweep("evaluate", "--seeds", "2", "--metric", "test/accuracy")
        assert re.search(r"Trial \d+: test/accuracy 0\.\d+ ± ", output)
        assert "too good to be reported" in output

    def test_dry_run(self, project: Project) -> None:
        output = project.wandbsweep("evaluate", "--seeds", "2", "--top", "3", "--dry-run", "--with", "epochs=1")
        assert len(output.splitlines()) == 3
        assert all("seed=1,2 test=true epochs=1" in line for line in output.splitlines())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--seeds", "0"], "The value of --seeds is 0, but must be >= 1."),
            (["--top", "-1"], "The value of --top is -1, but must be >= 1."),
            (["--metric", "nonesuch", "--seeds", "1", "--with", "epochs=x"], "No run gave a value of 'nonesuch'"),
        ],
    )
    def test_bad_input(self, project: Project, arguments: list[str], message: str) -> None:
        assert message in project.wandbsweep("evaluate", *arguments, status=2)
