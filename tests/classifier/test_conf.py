"""Every file of ``conf/`` is run: a short training of each choice of each group, and a trial of each sweep."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

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
NEEDED: dict[str, list[str]] = {
    "callbacks=lr_monitor": ["logger=csv"],
    **{f"data={name}": ["data.val_size=10"] for name in ("mnist", "fashion_mnist", "cifar10", "cifar100")},
    "data=image_folder": ["data.root=${oc.env:DATA_DIR}/folder", "data.val_size=4"],
}
"""What a file needs besides ``SHORT``, by ``GROUP=CHOICE``."""


pytestmark = pytest.mark.usefixtures("small_data")


def list_choices(group: str) -> list[str]:
    return sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml"))


def find_needs(choice: str) -> list[str]:
    return NEEDED.get(choice, [])


def test_no_file_is_outside_the_groups_that_are_run() -> None:
    assert sorted(path.name for path in CONF.glob("*.yaml")) == ["config.yaml"]
    assert [path.relative_to(CONF).as_posix() for path in (CONF / "hydra").rglob("*.yaml")] == [
        "hydra/sweeper/wandbsweep/settings.yaml"  # of every sweep through train.py
    ]


@pytest.mark.parametrize(("group", "choice"), [(group, choice) for group in GROUPS for choice in list_choices(group)])
def test_every_choice_of_a_group_trains(make_config: Compose, group: str, choice: str) -> None:
    chosen = f"{group}=[{choice}]" if group == "callbacks" else f"{group}={choice}"
    assert math.isfinite(train(make_config(chosen, *SHORT, *find_needs(f"{group}={choice}"))))


@pytest.mark.parametrize("experiment", list_choices("experiment"))
def test_every_experiment_trains(make_config: Compose, experiment: str) -> None:
    chosen = f"experiment={experiment}"
    assert 0 <= train(make_config(chosen, "logger=none", *SHORT, *find_needs(chosen))) <= 1


@pytest.mark.parametrize("name", list_choices("sweep"))
def test_a_trial_of_every_sweep_trains(make_config: Compose, name: str) -> None:
    """As the sweep's own controller proposes it, and with the experiment of the sweep's name if there is one."""
    spec = load_sweep(CONF / "sweep" / f"{name}.yaml")
    experiment = [f"experiment={name}", *find_needs(f"experiment={name}")] if name in list_choices("experiment") else []
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
