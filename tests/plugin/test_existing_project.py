"""docs/existing-project.md, word for word, in a project of lightning-hydra-template's shape that knows no sweep."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import hydra
import pytest

from tests.applications import App, copy_app
from wandbsweep import SweepDirectoryError, SweepResults, TrialRecord, open_sweep

GUIDE = (Path(__file__).parents[2] / "docs" / "existing-project.md").read_text(encoding="utf-8")
"""Its blocks `yaml` and `diff` begin with the name of their file; the commands in its blocks `sh` are run."""
METRICS = {"train/loss", "train/acc", "val/loss", "val/acc", "val/acc_best"}


def find_blocks(kind: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    return found


def find_command(*words: str) -> list[str]:
    """Return the words of the guide's only command that has all of ``words``."""
    lines = [line for block in find_blocks("sh") for line in block.splitlines()]
    (command,) = (line for line in lines if {*words} <= {*shlex.split(line)})
    return shlex.split(command)


def apply_diff(directory: Path, diff: str) -> None:
    """Replace the lines with - by those with +, which otherwise follow the last line before them."""
    name, *changes = diff.splitlines()
    file = directory / name.removeprefix("# ")
    lines = file.read_text().splitlines()
    place = 0
    for change in changes:
        sign, line = change[:1], change[1:]
        if sign == "+":
            lines.insert(place, line)
            place += 1
        elif sign == "-":
            place = lines.index(line)
            del lines[place]
        else:
            place = lines.index(line) + 1
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def project(tmp_path: Path) -> App:
    """The project, with what the guide adds to it: one file, and lines of others."""
    app = copy_app("lightning_template", tmp_path / "project", "src/train.py")
    (new,) = find_blocks("yaml")
    file = app.directory / new.splitlines()[0].removeprefix("# ")
    assert not file.exists()
    file.parent.mkdir()
    file.write_text(new)
    for diff in find_blocks("diff"):
        apply_diff(app.directory, diff)
    # The user's own: trainings that take long enough to be interrupted, and are repeatable.
    (app.directory / "configs/local").mkdir()
    (app.directory / "configs/local/default.yaml").write_text(
        "# @package _global_\nseed: 1\ndata: {pause_s: 0.01}\nextras: {print_config: false}\n"
    )
    return app


def run(project: App, command: list[str], status: int = 0) -> str:
    ended = project.shell(command)
    assert ended.status == status, ended
    return ended.out


def interrupt(project: App, command: list[str]) -> SweepResults:
    """Run ``command`` until a trial is in its training, kill all of it, and return the sweep."""
    process = subprocess.Popen(
        command,
        cwd=project.directory,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 100
        while not any(trial.state == "running" and trial.reports for trial in read_trials(project)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    (directory,) = (project.directory / "logs/train/multiruns").iterdir()
    return open_sweep(directory)


def read_trials(project: App) -> list[TrialRecord]:
    for file in project.directory.glob("logs/train/multiruns/*/sweep.yaml"):
        try:
            return [*open_sweep(file.parent).trials]
        except SweepDirectoryError:
            break
    return []


@pytest.mark.slow
def test_from_nothing_to_a_report(project: App) -> None:
    """In one test, since the sweep takes half a minute: two agents, an interruption, and resuming by the id."""
    interrupted = interrupt(project, find_command("sweep=first"))
    assert all(trial.state not in ("failed", "crashed") for trial in interrupted.trials)
    resume = [word.replace("=ID", f"={interrupted.sweep_id}") for word in find_command("hydra.sweeper.sweep_id=ID")]
    run(project, resume)
    sweep = open_sweep(interrupted.directory)
    check_trials(sweep)
    for line in (line for block in find_blocks("sh") for line in block.splitlines()):
        if line.startswith("wandbsweep") and "evaluate" not in line:  # without naming the sweep
            run(project, shlex.split(line))
    assert "val/acc" in (project.directory / "report.html").read_text()
    check_training_again(project, sweep)
    evaluation = json.loads(run(project, [*find_command("wandbsweep", "evaluate")[:2], "--seeds", "2", "--json"]))
    assert evaluation["metric"] == "test/acc"
    assert len(evaluation["configurations"][0]["values"]) == 2


def check_trials(sweep: SweepResults) -> None:
    assert {trial.state for trial in sweep.trials} <= {"finished", "stopped"}
    assert len(sweep.trials) == 8
    resumed = [trial.number for trial in sweep.trials if trial.attempts > 1]
    configs = [(sweep.directory / str(number) / ".hydra/config.yaml").read_text() for number in resumed]
    assert any(re.search(r"^ckpt_path: .*\.ckpt$", config, re.MULTILINE) for config in configs)
    for trial in sweep.trials:
        tested = {"test/loss", "test/acc"} if trial.state == "finished" else set()
        assert set(trial.metrics) == METRICS | tested
        place = sweep.directory / str(trial.number)
        assert {"train.log", "checkpoints", ".hydra"} <= {file.name for file in place.iterdir()}


def check_training_again(project: App, sweep: SweepResults) -> None:
    """The best trial has its value again, and the project works without the sweeper, with all its loggers."""
    shown = run(project, find_command("wandbsweep", "best")).splitlines()
    command = shlex.split(shown[shown.index("Train it again:") + 1])
    run(project, [*command, "logger=many_loggers", "hydra.run.dir=again"])
    with open(project.directory / "again/csv/version_0/metrics.csv") as file:
        values = [float(row["val/acc"]) for row in csv.DictReader(file) if row["val/acc"]]
    best = sweep.best
    assert best is not None
    assert best.attempts > 1 or max(values[: len(best.reports)]) == pytest.approx(best.value)


@pytest.mark.skipif(hydra.__version__ >= "1.4", reason="Hydra 1.4 refuses the project's hydra.mode in a config group")
def test_the_space_of_the_optuna_sweeper_and_wandb_runs(project: App) -> None:
    own = ["++hydra.sweeper.sweep.run_cap=1", "hydra.sweep.dir=optuna", "trainer.max_epochs=1", "logger=many_loggers"]
    run(project, [*find_command("hparams_search=blobs_optuna"), *own])
    found = open_sweep(project.directory / "optuna")
    assert [trial.state for trial in found.trials] == ["finished"]
    assert set(found.trials[0].params) == {"model.optimizer.lr", "data.batch_size", "model.net.width"}
    (made,) = project.directory.glob("optuna/0/wandb/offline-run-*")
    assert made.name.endswith(f"-{found.sweep_id}-0")
    # The Optuna sweeper that the file chooses is not installed, and the file says that it is for multiruns.
    best = found.best
    assert best is not None
    command = found.command(best)
    assert command is not None
    ended = project.shell(f"{command} logger=csv --cfg job")  # test_from_nothing trains again
    assert ended.status == 0, ended
    assert "csv" in ended.out


SCHEMA = """
from dataclasses import dataclass
import hydra
from hydra.core.config_store import ConfigStore

@dataclass
class Config:
    x: float = 1.0

ConfigStore.instance().store(name="schema", node=Config)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    return cfg.x

if __name__ == "__main__":
    main()
"""


def test_a_schema_that_forbids_the_key(tmp_path: Path) -> None:
    """The file is put where the sweeper reads it, and the command that trains again does without."""
    (choice,) = re.findall(r"`(\+sweep@[^`]+)`", GUIDE)
    (tmp_path / "conf/sweep").mkdir(parents=True)
    (tmp_path / "conf/config.yaml").write_text("defaults: [schema, _self_]\n")
    (tmp_path / "conf/sweep/first.yaml").write_text("{method: grid, metric: {name: v}, parameters: {x: {values: [3]}}}")
    (tmp_path / "app.py").write_text(SCHEMA)
    app = App(tmp_path)
    app.multirun(choice)
    app.multirun(choice)  # resumes it
    assert app.params() == {0: {"x": 3}}
    command = app.sweep().command(app.sweep().best)
    assert command.endswith("app.py x=3")
    assert app.shell(command).status == 0
