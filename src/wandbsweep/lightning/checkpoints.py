"""Checkpoints that are written atomically, keep the best epoch, and are read only if they are intact."""

from __future__ import annotations

import logging
import os
import pkgutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from wandbsweep.lightning.package import LightningModule, ModelCheckpoint, TorchCheckpointIO, Trainer

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


def trust_checkpoint(path: Path) -> None:
    """Let torch load the hyperparameters in a checkpoint that an earlier attempt of this trial has saved.

    Since torch 2.6 ``torch.load`` loads only objects on its list, but Lightning saves an application's own, too: an
    optimizer as a ``functools.partial``, a network, a configuration.
    """
    with suppress(Exception):  # not in a format that can be examined; the training's own loading says what is wrong
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        torch.serialization.add_safe_globals([(pkgutil.resolve_name(name), name) for name in names])
