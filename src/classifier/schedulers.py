"""Learning-rate schedules, counted in optimization steps. They change the rates of all parameter groups alike."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

Decay = Literal["constant", "linear", "cosine"]


def warmup(optimizer: Optimizer, total_steps: int | None, *, warmup_steps: float, decay: Decay) -> LambdaLR:
    """Raise the rate linearly over ``warmup_steps`` to the optimizer's, then let it ``decay`` until ``total_steps``.

    Args:
        optimizer: Its learning rate is the highest one.
        total_steps: The optimization steps of the training; None: it has no end that is known before.
        warmup_steps: A number of steps; below 1 a fraction of ``total_steps``. It may be more than ``total_steps``, as
            in W&B's example of 0 to 500: then the rate only rises.
        decay: How the rate falls after the warmup; ``constant``: it does not.

    Raises:
        ValueError: ``decay`` is unknown, ``warmup_steps`` is invalid, or ``total_steps`` is needed and unknown.
    """
    if decay not in get_args(Decay):
        raise ValueError(f"Unknown decay {decay!r}. Valid choices are {', '.join(get_args(Decay))}")
    if decay != "constant":
        total_steps = _require_length(total_steps, f"scheduler.decay={decay}")
    steps = round(count_warmup_steps(warmup_steps, total_steps))
    return LambdaLR(optimizer, lambda step: compute_factor(step, total_steps or 0, warmup_steps=steps, decay=decay))


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


class OneCycle(OneCycleLR):
    """torch's OneCycleLR over the whole training, with the warmup of the other schedules.

    A training that takes more steps than were foreseen keeps the last rate, and one that is resumed with another length
    follows the schedule of the new length. torch's class raises an error.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int | None, *, warmup_steps: float, **options: Any) -> None:
        """Begin the schedule.

        Args:
            optimizer: Its learning rates are the highest ones. Its momentum (of Adam: ``betas[0]``) is replaced, unless
                ``cycle_momentum`` is false.
            total_steps: The optimization steps of the training.
            warmup_steps: A number of steps; below 1 a fraction of ``total_steps``.
            options: Those of torch's class: ``div_factor``, ``final_div_factor``, ``anneal_strategy``,
                ``cycle_momentum``, ``base_momentum``, ``max_momentum``, ``three_phase``.

        Raises:
            ValueError: An option is invalid, or ``total_steps`` is unknown.
        """
        total = _require_length(total_steps, "scheduler=one_cycle")
        steps = min(count_warmup_steps(warmup_steps, total), total)
        # A phase that ends in step 0 would divide by its length: such a warmup is done before the training begins.
        share = 0.999 / total if abs(steps - 1) < 1e-6 else steps / total
        highest = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer, highest, total, pct_start=float(share), **options)

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step; after the last one the rate stays."""
        if self.last_epoch < self.total_steps - 1:
            super().step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the step of a checkpoint, with the length and the phases of this training."""
        own = {"total_steps": self.total_steps, "_schedule_phases": self._schedule_phases}
        super().load_state_dict({**state_dict, **own})


def count_steps(trainer: Trainer) -> int | None:
    """Return how many optimisation steps a training takes, on whatever devices; None: that is not known before."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if 0 <= steps < math.inf else None


def count_warmup_steps(warmup_steps: float, total_steps: int | None) -> float:
    """Return how many steps the warmup takes; of a fraction of the training the result may lie between two steps.

    Args:
        warmup_steps: A number of steps, or below 1 a fraction of the training.
        total_steps: The optimization steps of the training; None: unknown.

    Raises:
        ValueError: ``warmup_steps`` is neither, or it is a fraction and ``total_steps`` is unknown.
    """
    is_number = isinstance(warmup_steps, int | float) and not isinstance(warmup_steps, bool)
    if not is_number or not 0 <= warmup_steps < math.inf or (warmup_steps >= 1 and warmup_steps % 1):
        raise ValueError(
            f"The value of `scheduler.warmup_steps` is {warmup_steps!r}, but must be a whole number of steps >= 0, or "
            "a fraction of the training below 1"
        )
    if warmup_steps == 0 or warmup_steps >= 1:
        return int(warmup_steps)
    return warmup_steps * _require_length(total_steps, f"scheduler.warmup_steps={warmup_steps}")


def _require_length(total_steps: int | None, what: str) -> int:
    if total_steps is None:
        raise ValueError(
            f"{what} needs to know how many steps the training takes: set trainer.max_epochs or trainer.max_steps, and "
            "for data of unknown length trainer.max_steps"
        )
    return max(1, total_steps)
