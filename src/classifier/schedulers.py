"""Learning-rate schedules counted in optimisation steps."""

from __future__ import annotations

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Decay = Literal["constant", "linear", "cosine"]


def warmup(optimizer: Optimizer, total_steps: int, *, warmup_steps: int, decay: Decay) -> LambdaLR:
    """Rise linearly over ``warmup_steps`` to the optimizer's own rate, then ``decay`` until ``total_steps``.

    A warmup longer than the training simply never ends, as in W&B's example of 0 to 500 steps.
    """
    if decay not in ("constant", "linear", "cosine"):
        raise ValueError(f"Unknown decay {decay!r}. Valid choices are constant, linear, cosine")
    return LambdaLR(optimizer, lambda step: factor(step, total_steps, warmup_steps=warmup_steps, decay=decay))


def factor(step: int, total_steps: int, *, warmup_steps: int, decay: Decay) -> float:
    """What the learning rate is multiplied with in step ``step``, counted from 0."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    if decay == "linear":
        return 1.0 - progress
    if decay == "cosine":
        return (1.0 + math.cos(math.pi * progress)) / 2.0
    return 1.0
