"""Learning-rate schedules, counted in optimization steps."""

from __future__ import annotations

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Decay = Literal["constant", "linear", "cosine"]


def warmup(optimizer: Optimizer, total_steps: int, *, warmup_steps: int, decay: Decay) -> LambdaLR:
    """Raise the rate linearly over ``warmup_steps`` to the optimizer's, then let it ``decay`` until ``total_steps``.

    Args:
        optimizer: Its learning rate is the highest one.
        total_steps: The optimization steps of the training.
        warmup_steps: May be more than ``total_steps``, as in W&B's example of 0 to 500: then the rate only rises.
        decay: How the rate falls after the warmup; ``constant``: it does not.

    Raises:
        ValueError: ``decay`` is unknown.
    """
    if decay not in ("constant", "linear", "cosine"):
        raise ValueError(f"Unknown decay {decay!r}. Valid choices are constant, linear, cosine")
    return LambdaLR(optimizer, lambda step: compute_factor(step, total_steps, warmup_steps=warmup_steps, decay=decay))


def compute_factor(step: int, total_steps: int, *, warmup_steps: int, decay: Decay) -> float:
    """The factor of the learning rate in ``step``, which counts from 0."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    if decay == "linear":
        return 1.0 - progress
    if decay == "cosine":
        return (1.0 + math.cos(math.pi * progress)) / 2.0
    return 1.0
