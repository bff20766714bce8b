"""``Reproducible``: a resumed training draws the random numbers that an uninterrupted one would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch

from wandbsweep.lightning.package import Callback, LightningModule, Trainer


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
