from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from train import drop_sweep

ROOT = Path(__file__).parents[2]
Compose = Callable[..., DictConfig]


@pytest.fixture
def make_config(tmp_path: Path) -> Compose:
    """Composes the shipped configuration as a job does, with short runs, and without a logger unless one is named."""

    def make(*overrides: str, output: str = "out") -> DictConfig:
        (tmp_path / output).mkdir(exist_ok=True)  # Hydra makes it for a job
        small = [f"output_dir={tmp_path / output}", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
        logger = [] if any(o.startswith("logger=") for o in overrides) else ["logger=none"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return drop_sweep(compose("config", overrides=[*small, *logger, *overrides]))

    return make
