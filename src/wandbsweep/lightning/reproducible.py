"""``Reproducible``: a resumed training draws the random numbers that an uninterrupted one would have drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy
import torch

from wandbsweep.lightning.loader import ResumableLoader
from wandbsweep.lightning.package import Callback, LightningModule, Trainer

_POSITIONS = "wandbsweep_positions"
"""The checkpoint's key of the loaders' positions."""


class Reproducible(Callback):
    """Lets a resumed training draw the random numbers that an uninterrupted one would have drawn, in mid-epoch too.

    Torch is seeded in every epoch, so that an epoch does not depend on what the one before drew. The checkpoint holds
    the states of all generators, and the positions of the training's ResumableLoaders: Lightning restores loaders only
    if the number of steps was not asked for before, and schedules ask for it.

    Args:
        seed: The training's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._resumed: dict[str, Any] = {}
        self._positions: list[dict[str, int]] = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[_POSITIONS] = [loader.state_dict() for loader in _list_loaders(trainer.train_dataloader)]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._positions = checkpoint.get(_POSITIONS, [])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed:
            _restore_generators(self._resumed)
            self._resumed = {}
        loaders = _list_loaders(trainer.train_dataloader)
        if len(loaders) == len(self._positions):  # else the training has other data now
            for loader, position in zip(loaders, self._positions, strict=True):
                loader.load_state_dict(position)
        self._positions = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning does not call this when it resumes in mid-epoch.
        _seed_torch((self.seed * 1_000_003 + trainer.current_epoch) * 1_000 + trainer.global_rank)

    def state_dict(self) -> dict[str, Any]:
        return {
            "python": random.getstate(),
            "numpy": numpy.random.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict


def _seed_torch(seed: int) -> None:
    devices = getattr(torch, "accelerator", None)  # since torch 2.6
    if devices is None or devices.is_available():
        torch.manual_seed(seed)
    else:  # to seed devices that are not there, manual_seed formats the stack, which takes as long as a small step
        torch.default_generator.manual_seed(seed)


def _list_loaders(loaders: Any) -> list[ResumableLoader]:
    """Return the ResumableLoaders among a trainer's loaders: one, or collections of them."""
    if isinstance(loaders, ResumableLoader):
        return [loaders]
    if isinstance(loaders, Mapping):
        loaders = loaders.values()
    elif not isinstance(loaders, list | tuple):
        return []
    return [found for each in loaders for found in _list_loaders(each)]


def _restore_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    numpy.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():  # else another machine wrote them
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
