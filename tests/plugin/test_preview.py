"""``hydra.sweeper.dry_run=true``: what a sweep would do, of which nothing is written or launched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.applications import App

SWEEP = """
method: random
metric: {name: loss, constraints: {units: {max: 9}}}
run_cap: 12
early_terminate: {type: hyperband, max_iter: 81, s: 2}
constraints: ["lr <= 0.9"]
parameters:
  model: {values: [mlp, convnet]}
  lr: {distribution: log_uniform_values, min: 0.001, max: 1.0}
  model.width: {values: [1, 2], when: {model: convnet}}
"""
SLURM = [
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.gpus_per_node=2",
    "hydra.launcher.timeout_min=120",
    "hydra.launcher.partition=gpu",
    "hydra.sweeper.agents=4",
    "hydra.launcher.array_parallelism=3",
]


def list_files(app: App) -> list[Path]:
    return sorted(path for path in app.directory.rglob("*") if "__pycache__" not in path.parts)


def test_a_preview_shows_the_first_trials_and_writes_nothing(app: App) -> None:
    (app.directory / "conf" / "sweep" / "mine.yaml").write_text(SWEEP)
    before = list_files(app)
    command = ["sweep=mine", "hydra.sweeper.seed=7", "+epochs=10"]
    shown = app.multirun(*command, *SLURM, "hydra.sweeper.dry_run=true", into=None).out
    assert list_files(app) == before
    for text in (
        "Preview: random over 3 parameters, minimize loss, at most 12 trials",
        "0.001 to 1, median 0.031623",  # lr
        "model is convnet",  # model.width's condition
        "constraint: lr <= 0.9",
        "limit: units <= 9",
        "the worse trials end at reports 9, 27\n",
        "10 example trials (the sweep starts with these)",
        "submitit_slurm: 4 jobs",
        "partition: gpu",
        "together: at most 6 GPUs at once, for at most 2 h a start",
        f"submitit_folder: {app.directory}/outputs/ID/.submitit/%j",
        f"directory: {app.directory}/outputs/ID",
        "the bands 27 are beyond epochs 10",
    ):
        assert text in shown, shown
    trials = re.findall(r"^  trial (\d+): (.*)$", shown, re.MULTILINE)
    assert [number for number, _ in trials] == [str(number) for number in range(10)]
    first_convnet = shown.split("model=convnet")[1].partition("  trial ")[0]
    assert "model.kind: 'mlp' → 'convnet'" in first_convnet  # what the config group changes, besides the parameters

    app.multirun(*command, "++sweep.run_cap=3")
    for number, params in app.params().items():
        overrides = dict(word.split("=", 1) for word in trials[number][1].split())
        assert {name: overrides[name] for name in params} == {name: str(value) for name, value in params.items()}
    joins = app.multirun("hydra.sweeper.sweep_id=abc", "hydra.sweeper.dry_run=true", status=2)
    assert "there is nothing to preview" in joins.refused()


def test_a_plain_grid_and_a_directory_that_cannot_be_made(app: App) -> None:
    (app.directory / "outputs").touch()
    before = list_files(app)
    shown = app.multirun("lr=1,2", "model=mlp,convnet", "hydra.sweeper.dry_run=true", into=None).out
    assert list_files(app) == before
    assert "grid size: 4 configurations" in shown
    assert "4 example trials (the sweep starts with these)" in shown
    assert re.search(r"cannot be made, since .*outputs is no directory", shown), shown


@pytest.mark.parametrize("wrong", ["+sweep.parameters.nothing.values=[1]", "hydra.sweeper.dry_run=perhaps"])
def test_a_preview_refuses_what_a_sweep_refuses(app: App, wrong: str) -> None:
    ended = app.run("-m", "hydra/sweeper=wandbsweep", "+sweep.method=grid", wrong, "hydra.sweeper.dry_run=true")
    assert ended.status != 0
    assert not (app.directory / "outputs").exists()
