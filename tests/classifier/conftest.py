from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from tests.classifier.small_images import make_cifar_files, make_folder, make_mnist_files, write_files
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


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a small data set of each format to ``DATA_DIR``, where ``data=mnist`` and the others look for it.

    ``data=image_folder`` needs ``data.root=${oc.env:DATA_DIR}/folder``; all need a small ``data.val_size``.
    """
    root = tmp_path / "data sets"
    monkeypatch.setenv("DATA_DIR", str(root))
    for mnist in (MNIST, FashionMNIST):
        write_files(root / mnist.__name__ / "raw", make_mnist_files())
    for cifar in (CIFAR10, CIFAR100):
        write_files(root, make_cifar_files(monkeypatch, cifar))
    make_folder(root / "folder/train", 10)
    return root
