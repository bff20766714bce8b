"""Ends a training whose loss is NaN or infinite, without waiting for the GPU after each batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wandbsweep.errors import DivergedError
from wandbsweep.faults import describe_loss
from wandbsweep.lightning.package import Trainer

_EVERY = 50  # batches between two checks, where a check waits for the GPU or for other ranks
_SCALED = 10  # how many losses in a row count as diverged if a gradient scaler skips the steps that overflow


class LossCheck:
    """Collects a training's losses, and checks them after each batch, or every 50 batches where that takes time."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._places: list[tuple[int, int]] = []
        """The step and the epoch of each loss."""
        self._bad: list[tuple[float, int, int]] = []
        """The losses that are not finite since the last one that is, with step and epoch."""
        self._added = 0

    def add(self, trainer: Trainer, outputs: Any, *, step: int) -> None:
        """Note what ``training_step`` returned, and check it, and the ones before, if it is time.

        Must be called on every rank.

        Args:
            trainer: The trainer.
            outputs: Lightning's ``outputs`` of the batch.
            step: The optimisation step that the batch belongs to, from 0.

        Raises:
            DivergedError: The loss is NaN or infinite.
        """
        self._added += 1
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self._losses.append(loss.detach().reshape(()))
            self._places.append((step, trainer.current_epoch))
            if trainer.world_size == 1 and loss.device.type == "cpu":
                self.check(trainer)
                return
        if self._added % _EVERY == 0:
            self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise DivergedError if a loss since the last check is NaN or infinite; must be called on every rank."""
        found = self._find_divergence(_count_tolerated(trainer))
        if trainer.world_size > 1:  # a rank that ended alone would leave the others waiting
            elsewhere = trainer.strategy.reduce_boolean_decision(found is not None, all=False)
            if elsewhere and found is None:
                found = f"the loss of another rank is NaN or infinite before step {trainer.global_step}"
        if found is not None:
            raise DivergedError(found)

    def _find_divergence(self, tolerated: int) -> str | None:
        losses, places = self._losses, self._places
        self._losses, self._places = [], []
        values = [float(losses[0])] if len(losses) == 1 else torch.stack(losses).tolist() if losses else []
        for value, place in zip(values, places, strict=True):
            if value - value == 0:  # neither NaN nor infinite
                self._bad = []
                continue
            self._bad.append((value, *place))
            if len(self._bad) > tolerated:
                return describe_loss(*self._bad[0])
        return None


def _count_tolerated(trainer: Trainer) -> int:
    """Return how many losses in a row may be NaN or infinite."""
    return _SCALED - 1 if getattr(trainer.precision_plugin, "scaler", None) is not None else 0
