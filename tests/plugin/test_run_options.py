"""``${wandbsweep:KEY}`` and ``current_trial().wandb``: a project's own W&B runs belong to their sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.applications import App

CONFIG = """
x: 0
tags: [dev]
wandb:
  group: ${wandbsweep:group,baseline}
  name: ${wandbsweep:name}
  id: ${wandbsweep:id}
  resume: ${wandbsweep:resume}
  tags: ${wandbsweep:tags,${tags}}
"""
TASK = """
import json, os, sys, hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    options = dict(cfg.wandb)
    if cfg.x > 0:
        import wandb
        with wandb.init(project="mine", **options) as run:
            options = {name: getattr(run, name) for name in ("group", "name", "id", "tags")}
    with open(f"{os.environ['OUT']}/{cfg.x}.json", "w") as file:
        json.dump(options, file, default=list)
    return cfg.x

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(TASK)
    return App(tmp_path)


def read_options(app: App, x: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((app.directory / f"{x}.json").read_text())
    return found


def test_runs_of_trials_belong_to_the_sweep(app: App) -> None:
    app.multirun("x=1,2", into="sweep", OUT=str(app.directory))
    sweep_id = app.sweep().sweep_id
    for number in range(2):
        name = f"{sweep_id}-{number}"
        tags = {"dev", "wandbsweep", sweep_id}
        found = read_options(app, number + 1)
        assert {**found, "tags": set(found["tags"])} == {"group": sweep_id, "name": name, "id": name, "tags": tags}


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_without_the_sweeper_they_are_null_or_what_is_given(app: App, launcher: str) -> None:
    arguments = ["-m", "hydra/sweeper=basic", f"hydra/launcher={launcher}", "x=0,-1"]
    assert app.run(*arguments, OUT=str(app.directory)).status == 0
    wanted = {"group": "baseline", "name": None, "id": None, "resume": None, "tags": ["dev"]}
    assert [read_options(app, x) for x in (0, -1)] == [wanted, wanted]


def test_an_unknown_key_is_refused_with_the_choices(app: App) -> None:
    ended = app.run("wandb.name=${wandbsweep:nmae}", OUT=str(app.directory))
    assert ended.status == 1
    assert "${wandbsweep:nmae}: the keys are group, name, id, resume, tags" in ended.err
