"""Trials that go on from a checkpoint, in an application that knows nothing of sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.applications import App

SCRIPT = """
import os, signal
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    place = Path(HydraConfig.get().runtime.output_dir, "checkpoints")
    if cfg.ckpt_path is None:
        place.mkdir()
        (place / "last.ckpt").write_text(str(cfg.lr + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return float(Path(cfg.ckpt_path).read_text())


if __name__ == "__main__":
    main()
"""
CONFIG = """
lr: 1
ckpt_path: null
hydra: {sweep: {subdir: "runs/${hydra.job.override_dirname}"}}
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "app.py").write_text(SCRIPT)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return App(tmp_path)


def test_a_key_of_the_application_gets_the_checkpoint(app: App) -> None:
    app.multirun("lr=1,2", "hydra.sweeper.isolation=process", "hydra.sweeper.resume_key=ckpt_path")
    assert [(trial.value, trial.attempts) for trial in app.sweep().trials] == [(2.0, 2), (3.0, 2)]
    shown = (app.directory / "sweep" / "runs" / "lr=1" / ".hydra" / "overrides.yaml").read_text()
    assert shown.splitlines() == ["- lr=1", f"- ckpt_path='{app.directory}/sweep/runs/lr=1/checkpoints/last.ckpt'"]
    # A sweep that is joined may be given another key, but no unknown one.
    join = f"hydra.sweeper.sweep_id={app.sweep().sweep_id}"
    refused = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", join, "hydra.sweeper.resume_key=lrr")
    assert "resume_key: 'lrr' is not a key of the application's configuration; did you mean lr?" in refused.refused()


def test_an_unknown_key_is_refused_before_anything_is_written(app: App) -> None:
    refused = app.multirun("lr=1,2", "hydra.sweeper.resume_key=ckpt_pth", status=2).refused()
    assert refused.endswith("not a key of the application's configuration; did you mean ckpt_path?\n")
    assert not (app.directory / "sweep").exists()
