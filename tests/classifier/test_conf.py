"""Every file of ``conf/`` is run: a short training of each choice of each group, and a trial of each sweep."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from classifier.training import train
from tests.classifier.conftest import Compose
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.current import CurrentTrial, running
from wandbsweep.sweep.override_strings import format_value

CONF = Path(__file__).parents[2] / "conf"
PRESETS = ("experiment", "sweep", "hydra")
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in PRESETS)

SHORT = [
    *("trainer.max_epochs=1", "++trainer.limit_train_batches=1", "++trainer.limit_val_batches=1"),
    *("data.batch_size=8", "trainer.enable_checkpointing=false"),
]
FOLDER = ["data.root=${oc.env:DATA_DIR}/folder", "data.val_size=4"]
NEEDED: dict[str, list[str]] = {
    "callbacks=lr_monitor": ["logger=csv"],
    "logger=mlflow": ["logger.mlflow.tracking_uri=sqlite:///${oc.env:DATA_DIR}/mlflow.db"],
    **{f"data={name}": ["data.val_size=10"] for name in ("mnist", "fashion_mnist", "cifar10", "cifar100")},
    "data=image_folder": FOLDER,
    "sweep=resnet50_cifar10": ["model=mlp"],  # the networks are trained with their experiments
    "sweep=cifar10_from_scratch": ["model=mlp"],
    "experiment=finetune": ["model.weights=${oc.env:DATA_DIR}/resnet18.pth", "model.image_size=48"],
}
"""What a file needs besides ``SHORT``, by ``GROUP=CHOICE``."""
HEAVY = ("resnet50_cifar10",)
"""Experiments that take long; model=resnet50 and a trial of the sweep, with another network, are run all the same."""

pytestmark = [
    pytest.mark.usefixtures("small_data"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow's, of SQLAlchemy 2.1
]


@pytest.fixture(autouse=True)
def leave_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts its artifacts where it is started."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def weights(request: pytest.FixtureRequest, small_data: Path) -> None:
    """Save weights as torchvision would have downloaded them, if the test is about fine-tuning."""
    if "finetune" in request.node.name:
        torch.save(torchvision.models.resnet18().state_dict(), small_data / "resnet18.pth")


def list_choices(group: str) -> list[str]:
    return sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml"))


def find_needs(choice: str) -> list[str]:
    group, _, name = choice.partition("=")
    needs = NEEDED.get(choice, [])
    if group == "experiment":
        data = re.search(r"override /data: (\w+)", (CONF / group / f"{name}.yaml").read_text())
        needs = ["trainer.precision=32-true", *(find_needs(f"data={data[1]}") if data else []), *needs]
    return needs


def test_no_file_is_outside_the_groups_that_are_run() -> None:
    assert sorted(path.name for path in CONF.glob("*.yaml")) == ["config.yaml"]
    assert [path.relative_to(CONF).as_posix() for path in (CONF / "hydra").rglob("*.yaml")] == [
        "hydra/sweeper/wandbsweep/settings.yaml"  # of every sweep through train.py
    ]


@pytest.mark.parametrize(("group", "choice"), [(group, choice) for group in GROUPS for choice in list_choices(group)])
def test_every_choice_of_a_group_trains(make_config: Compose, group: str, choice: str) -> None:
    chosen = f"{group}=[{choice}]" if group == "callbacks" else f"{group}={choice}"
    assert math.isfinite(train(make_config(chosen, *SHORT, *find_needs(f"{group}={choice}"))))


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(
    "experiment",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in HEAVY)) for name in list_choices("experiment")],
)
def test_every_experiment_trains(make_config: Compose, experiment: str) -> None:
    chosen = f"experiment={experiment}"
    assert 0 <= train(make_config(chosen, "logger=none", *SHORT, *find_needs(chosen))) <= 1


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("name", list_choices("sweep"))
def test_a_trial_of_every_sweep_trains(make_config: Compose, name: str) -> None:
    """As the sweep's own controller proposes it, and with the experiment of the sweep's name if there is one."""
    spec = load_sweep(CONF / "sweep" / f"{name}.yaml")
    experiment = (
        [f"experiment={name}", *find_needs(f"experiment={name}"), *find_needs(f"sweep={name}")]
        if name in list_choices("experiment")
        else []
    )
    assert spec.metric is not None
    controller = create_sweep(spec)
    trial = controller.ask()
    assert trial is not None
    values = [f"{key}={format_value(value)}" for key, value in trial.params.items()]
    cfg = make_config(*experiment, f"sweep={name}", *SHORT, *(line for line in values if "batch_size" not in line))
    current = CurrentTrial(
        number=0,
        params=trial.params,
        metric=spec.metric.name,
        goal=spec.goal,
        send=lambda step, metrics: controller.report(trial, step, metrics),
    )
    with running(current):
        train(cfg)
    controller.complete(trial, Outcome.finished())
    (ended,) = controller.trials()
    controller.close()
    assert ended.state == "finished"
    assert ended.value is not None


def test_every_model_has_the_keys_that_sweeps_name() -> None:
    """So a sweep may be combined with any ``model=``, unless it has an experiment of its own."""
    files = (CONF / "sweep").glob("*.yaml")
    specs = [load_sweep(file) for file in files if file.stem not in list_choices("experiment")]
    keys = {name for spec in specs for name in spec.parameters if name.startswith("model.")}
    assert keys
    for model in list_choices("model"):
        has = {f"model.{key}" for key in yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())}
        assert keys <= has, model
