"""``checkpoints/last.ckpt`` and ``best.ckpt``: written atomically, and read only if they are intact."""

from __future__ import annotations

import logging
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file in the same directory, then renames it: a kill or a full disk keeps the old checkpoint.

    Lightning's own class writes to the machine's temporary directory and moves the file. If that is another disk, the
    move is a copy into the old checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch in ``best.ckpt``, and what was logged in it."""

    def __init__(self, directory: Path, metric: str, goal: str) -> None:
        mode = {"minimize": "min", "maximize": "max"}[goal]
        super().__init__(
            directory,
            filename="best",
            monitor=metric,
            mode=mode,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.epoch = -1
        """The best epoch; -1: none yet."""
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor not in trainer.callback_metrics:  # Lightning would raise; the training says it in its own words
            return
        before = self.best_model_score
        super().on_train_epoch_end(trainer, pl_module)
        if self.best_model_score is not before:
            self.epoch = trainer.current_epoch
            self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.epoch, self.metrics = state_dict["epoch"], state_dict["metrics"]


class Reproducible(Callback):
    """Lets a resumed training draw the random numbers that an uninterrupted one would have drawn, in mid-epoch too.

    Torch is seeded in every epoch, so that an epoch does not depend on what the one before drew. The checkpoint holds
    the states of all generators.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._resumed: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed:
            _restore_generators(self._resumed)
            self._resumed = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning does not call this when it resumes in mid-epoch.
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * 1_000 + trainer.global_rank)

    def state_dict(self) -> dict[str, Any]:
        return {
            "python": random.getstate(),
            "numpy": numpy.random.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict


def _restore_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    numpy.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():  # else another machine wrote them
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def is_intact(path: Path) -> bool:
    """Whether ``path`` is a checkpoint that can be read; logs a warning if the file exists and cannot."""
    if not path.exists():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        damaged = str(error)
    if damaged is not None:
        log.warning("%s is damaged (%s): the training starts from the beginning.", path, damaged)
    return damaged is None
