"""``wandbsweep evaluate`` in projects of others: where a run's value is found, and what happens if there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import hydra

@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(cfg):
    import os, pathlib, time
    from wandbsweep import current_trial
    with open("ran.txt", "a") as file:
        file.write(f"{cfg.seed}\\n")
    exec(cfg.measure, {**globals(), **locals()})
    return eval(str(cfg.back))

main()
"""
CONFIG = """
x: 1.0
seed: 0
test: false
measure: 'current_trial().report(0, {"val/acc": 0.8})'
back: "None"
"""
LIGHTNING = """
import hydra

@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(cfg):
    if not cfg.test:
        return 0.7
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from torch.utils.data import DataLoader, TensorDataset
    from wandbsweep.lightning import SweepCallback

    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
        def training_step(self, batch, i):
            return self.layer(batch[0]).mean()
        def test_step(self, batch, i):
            self.log("test/acc", 0.9 + cfg.seed / 100)
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    callbacks = [SweepCallback()] if cfg.seed == 1 else []
    trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=callbacks, **quiet)
    model, data = Model(), DataLoader(TensorDataset(torch.ones(4, 1)))
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return 0.7  # val/acc, which is not what is measured

main()
"""
SWEEP = [
    "+sweep.method=grid",
    "+sweep.metric={name: val/acc, goal: maximize}",
    "+sweep.parameters={x: {values: [1.0]}}",
]


class Project:
    def __init__(self, directory: Path, app: str, config: str) -> None:
        self.directory = directory
        (directory / "conf").mkdir()
        (directory / "conf" / "config.yaml").write_text(config)
        (directory / "app.py").write_text(app.replace("config_path=None", "config_path='conf'"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *command], cwd=self.directory, env=environment, capture_output=True, text=True, timeout=300
        )

    def sweep(self, *options: str) -> None:
        done = self.run("app.py", "-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=outputs/s", *SWEEP, *options)
        assert done.returncode == 0, done.stderr
        (self.directory / "ran.txt").unlink(missing_ok=True)

    def evaluate(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "wandbsweep.cli", "evaluate", "outputs/s", "--json", *options)

    def values(self, *options: str) -> dict[str, float]:
        done = self.evaluate(*options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["configurations"][0]["values"]

    @property
    def ran(self) -> list[str]:
        return (self.directory / "ran.txt").read_text().split()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"), APP, CONFIG)
    project.sweep()
    return project


def test_a_reported_value(project: Project) -> None:
    measure = 'measure=\'current_trial().report(0, {"test/acc": 0.5 + cfg.seed / 4, "val/acc": 0.1})\''
    assert project.values("--seeds", "2", "--with", measure, "--with", "back=0.3") == {"1": 0.75, "2": 1.0}


def test_the_best_or_the_last_of_the_sweeps_own_metric(project: Project) -> None:
    measure = "measure='[current_trial().report(step, {\"val/acc\": acc}) for step, acc in enumerate([0.5, 0.9, 0.7])]'"
    options = ["--seeds", "1", "--metric", "val/acc", "--with", measure]
    assert project.values(*options) == {"1": 0.9}
    assert project.values(*options, "--by", "last") == {"1": 0.7}


def test_a_returned_value_counts_for_the_metric_that_it_is_of(project: Project) -> None:
    options = ["--seeds", "2", "--with", "measure=pass", "--with", "back=cfg.seed/4"]
    assert project.values(*options, "--metric", "val/acc") == {"1": 0.25, "2": 0.5}
    assert project.values(*options) == {"1": 0.25, "2": 0.5}  # nothing else was seen, so it is test/acc


def test_it_stops_after_the_first_run_without_a_value(project: Project) -> None:
    (project.directory / "ran.txt").unlink(missing_ok=True)
    done = project.evaluate("--seeds", "5", "--top", "1", "--with", "back=0.3")
    assert done.returncode == 2
    assert project.ran == ["1"]
    assert "gave no finite value of 'test/acc'; it reported 'val/acc', returned 0.3" in done.stderr
    assert "with --metric, name one that the training measures" in done.stderr


def test_it_stops_if_the_first_run_fails(project: Project) -> None:
    (project.directory / "ran.txt").unlink(missing_ok=True)
    done = project.evaluate("--seeds", "3", "--with", "measure=1/0")
    assert (done.returncode, project.ran) == (2, ["1"])
    assert "failed: ZeroDivisionError" in done.stderr


def test_values_are_kept_whatever_happens_to_other_runs(project: Project) -> None:
    measure = (
        'measure=\'1/0 if cfg.seed == 2 else (current_trial().report(0, {"test/acc": 1.0}), '
        "exit(0) if cfg.seed == 3 else None)'"
    )
    done = project.evaluate("--seeds", "4", "--with", measure)
    found = json.loads(done.stdout)["configurations"][0]
    assert found["values"] == {"1": 1.0, "3": 1.0, "4": 1.0}
    assert "ZeroDivisionError" in found["failed"]["2"]
    for line in ("seed=1: started", "seed=1: test/acc 1 after", "seed=2: no value after"):  # while they ran
        assert f"\n  {line}" in done.stderr
    (project.directory / "ran.txt").unlink()
    measure = 'measure=\'current_trial().report(0, {"test/acc" if cfg.seed == 1 else "other": 1.0})\''
    done = project.evaluate("--seeds", "4", "--with", measure)
    found = json.loads(done.stdout)
    assert (found["configurations"][0]["values"], project.ran) == ({"1": 1.0}, ["1", "2"])
    assert "gave no finite value of 'test/acc'; it reported 'other'" in found["warnings"][-1]


def test_seeds_run_side_by_side(project: Project) -> None:
    meet = """measure='(pathlib.Path(f"here{cfg.seed}").touch(), [time.sleep(0.01)
        for _ in range(6000) if not all(os.path.exists(f"here{k}") for k in (1, 2))],
        current_trial().report(0, {"test/acc": float(os.path.exists("here1") and os.path.exists("here2"))}))'"""
    joblib = [word for option in ("hydra/launcher=joblib", " ".join(meet.split())) for word in ("--with", option)]
    dry = project.evaluate("--seeds", "2", "--dry-run").stdout
    assert "hydra.sweeper.agents" not in dry  # the basic launcher has one process
    assert project.values("--seeds", "2", "--with", "hydra.sweeper.agents=2", *joblib) == {"1": 1.0, "2": 1.0}
    config = project.directory / "outputs" / "s" / "multirun.yaml"
    text = config.read_text()
    config.write_text(text.replace("hydra._internal.core_plugins.basic_launcher.BasicLauncher", "x.JoblibLauncher"))
    try:
        assert "hydra.sweeper.agents=2" in project.evaluate("--seeds", "2", "--dry-run").stdout
    finally:
        config.write_text(text)


def test_lightning(tmp_path: Path) -> None:
    """What ``trainer.test`` logs is found with and without SweepCallback; the returned number is of another metric."""
    project = Project(tmp_path, LIGHTNING, "x: 1.0\nseed: 0\ntest: false\n")
    project.sweep()
    assert project.values("--seeds", "2") == {"1": pytest.approx(0.91), "2": pytest.approx(0.92)}
    for number, has_callback in enumerate([True, False]):
        found = json.loads((tmp_path / f"outputs/s/evaluate/0/0/{number}/evaluation.json").read_text())
        assert ("test/acc" in found["reported"]) == has_callback
        assert found["callback_metrics"]["test/acc"] == pytest.approx(0.91 + number / 100)
