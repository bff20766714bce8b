"""``checkpoints/last.ckpt``: written whole or not at all, and read only where it is whole."""

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
from lightning.pytorch.plugins.io import TorchCheckpointIO

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint, then renames: a kill or a full disk leaves the one before as it was.

    Lightning's own writes to the machine's temporary directory and moves; from another disk that is a copy, in place.
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


class Reproducible(Callback):
    """Makes what a resumed training draws what an uninterrupted one would have drawn, in mid-epoch as well.

    Torch is seeded anew in every epoch, so that an epoch does not depend on how the one before was spent; the states
    of all generators go with the checkpoint.
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
    if len(states["cuda"]) == torch.cuda.device_count():  # else it was another machine's
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def whole(path: Path) -> bool:
    """Whether there is a checkpoint at ``path`` that can be read; one that is there and cannot is told."""
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
