"""The sweeps of the two articles, word for word and as this project's own files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.applications import App, MakeApp
from wandbsweep import open_sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def article(make_app: MakeApp) -> App:
    return make_app("articles", "wandb_sweep.py")


def test_the_first_article(article: App) -> None:
    article.multirun("sweep=first", "hydra.sweeper.seed=0")
    trials = article.sweep().trials
    assert len(trials) == 20
    for trial in trials:
        params = trial.params
        assert 1e-5 <= params["learning_rate"] <= 1e-2
        assert params["batch_size"] in (16, 32, 64, 128)
        assert 1e-6 <= params["weight_decay"] <= 1e-2
        assert isinstance(params["warmup_steps"], int)
        assert 0 <= params["warmup_steps"] <= 500
        assert 0 <= params["dropout"] <= 0.5
        assert {**article.result(trial.number), **params} == article.result(trial.number)
    stopped = [trial for trial in trials if trial.state == "stopped"]
    assert stopped
    assert {len(trial.reports) for trial in stopped} <= {3, 9}
    assert all("hyperband" in trial.reason for trial in stopped)
    assert all(len(trial.reports) == 9 for trial in trials if trial.state == "finished")


def test_the_first_article_with_agents_that_have_a_count(article: App) -> None:
    """``wandb.agent(sweep_id, count=…)``: no run_cap."""
    article.multirun("sweep=first", "sweep.run_cap=null", "hydra.sweeper.count=2", "hydra.sweeper.agents=2")
    assert len(article.sweep().trials) == 4


def test_the_second_article(article: App) -> None:
    ended = article.multirun("sweep=second")
    assert [trial.params for trial in article.sweep().trials] == [{"learning_rate": 0.1}, {"learning_rate": 0.01}]
    best = article.sweep().best
    assert best is not None
    assert best.params == {"learning_rate": 0.01}
    assert "best Validation Accuracy" in ended.err


# Imports what training takes once, for all sweeps; each is a process of its own all the same.
TRAIN_ALL = """
import json, os, runpy, sys
import classifier.training

for arguments in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sys.argv = ["train.py", "-m", "hydra/sweeper=wandbsweep", *arguments]
        runpy.run_path("train.py", run_name="__main__")
        sys.exit()
    if os.wait()[1]:
        sys.exit(f"failed: {arguments}")
"""
SHORT = ["logger=none", "trainer.accelerator=cpu", "trainer.enable_checkpointing=false", "hydra.sweeper.seed=0"]
TWO_TRIALS = ["++sweep.run_cap=2", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
SPECIAL = {
    "article_bayes": ["++sweep.run_cap=4", "trainer.max_epochs=4"],
    "article_grid": ["trainer.max_epochs=4"],
}
IMAGES = ["data=image_folder", "data.val_size=4", "data.test_size=4", "data.batch_size=8", "trainer.precision=32-true"]
SMALLER = {"resnet50_cifar10": ["model=resnet18"], "finetune": ["model.image_size=48"]}
"""What makes the experiment of a sweep's name train faster."""


@pytest.mark.slow
def test_the_projects_own_sweeps(tmp_path: Path) -> None:
    """Every file of conf/sweep, through train.py; if there is an experiment of its name, with that on a few images."""
    import torch
    import torchvision

    from tests.classifier.small_images import make_folder

    sweeps = ROOT / "conf" / "sweep"
    names = sorted(file.relative_to(sweeps).with_suffix("").as_posix() for file in sweeps.rglob("*.yaml"))
    experiments = {file.stem for file in sweeps.parent.glob("experiment/*.yaml")}
    folder = make_folder(tmp_path / "images", 20)
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    commands = []
    for name in names:
        small = SPECIAL.get(name, TWO_TRIALS)
        if name in experiments:
            own = [f"model.weights={weights}"] if name == "finetune" else []
            small = [f"experiment={name}", *IMAGES, f"data.root={folder}", *SMALLER.get(name, []), *own, *small]
        commands.append([f"sweep={name}", f"hydra.sweep.dir={tmp_path / name}", *SHORT, *small])
    train_all = [sys.executable, "-W", "error::UserWarning", "-c", TRAIN_ALL, json.dumps(commands)]
    ended = App(ROOT).shell(train_all, timeout_s=900)
    assert ended.status == 0, ended
    trials = {name: open_sweep(tmp_path / name).trials for name in names}
    bayes, grid = trials.pop("article_bayes"), trials.pop("article_grid")
    assert [trial.number for trial in bayes] == [0, 1, 2, 3]
    assert {trial.state for trial in bayes} <= {"finished", "stopped"}
    assert all(trial.value is not None for trial in bayes)
    assert [trial.params for trial in grid] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]
    assert [(trial.state, len(trial.reports)) for trial in grid] == [("finished", 4)] * 2
    states = {name: [trial.state for trial in found] for name, found in trials.items()}
    assert states == dict.fromkeys(trials, ["finished"] * 2)
