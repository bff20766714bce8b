"""The optimizer that ``cfg.optimizer`` describes, over parameter groups: the head, and what is not decayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from classifier.instantiate import detach, instantiate
from classifier.models import find_head

_GROUP_OPTIONS = ("decay_norms_and_biases", "head_lr")
"""Keys of ``optimizer`` that are ours; all others are the optimizer's own."""


@dataclass(frozen=True)
class OptimizerFactory:
    """Makes the optimizer of a network; parameters that are frozen (``requires_grad=False``) are left out.

    By default it has a single group. Otherwise each has a ``name``, which Lightning's learning-rate monitor shows.
    """

    make: Callable[..., Optimizer]
    decay_norms_and_biases: bool = True
    """False: the weight decay of biases and of the parameters of normalisation layers is 0."""
    head_lr: float | None = None
    """The learning rate of the network's head; None: that of all other parameters."""

    def __call__(self, network: nn.Module) -> Optimizer:
        """Make the optimizer.

        Raises:
            ValueError: Every parameter is frozen, or the optimizer has no weight decay or refuses an option.
        """
        groups = self._group(network)
        if not groups:
            raise ValueError("The network has no parameter to train: all are frozen")
        is_single = self.decay_norms_and_biases and self.head_lr is None
        try:
            optimizer = self.make(groups[0]["params"] if is_single else groups)
        except (TypeError, ValueError, InstantiationException) as error:
            raise ValueError(f"An option of `optimizer` is refused: {error}") from error
        if not self.decay_norms_and_biases and "weight_decay" not in optimizer.defaults:
            raise ValueError(
                "`optimizer.decay_norms_and_biases` is false, but must be true: "
                f"{type(optimizer).__name__} has no weight decay"
            )
        return optimizer

    def _group(self, network: nn.Module) -> list[dict[str, Any]]:
        head = (
            {id(parameter) for parameter in find_head(network)[1].parameters()} if self.head_lr is not None else set()
        )
        groups: dict[str, dict[str, Any]] = {}
        seen = set[int]()  # a parameter that two modules share is in one group
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                options: dict[str, Any] = {}
                label = "network"
                if id(parameter) in head:
                    label, options["lr"] = "head", self.head_lr
                if not self.decay_norms_and_biases and _is_norm_or_bias(module, name, parameter):
                    label, options["weight_decay"] = f"{label}/no_decay", 0.0
                groups.setdefault(label, {"params": [], "name": label, **options})["params"].append(parameter)
        return list(groups.values())


def read_optimizer(config: DictConfig) -> OptimizerFactory:
    """Return what makes the optimizer that ``config`` describes: a target, its options, and those of the groups."""
    own = detach(config)
    options = {name: own.pop(name) for name in _GROUP_OPTIONS if name in own}
    return OptimizerFactory(instantiate(own, _partial_=True), **options)


def _is_norm_or_bias(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    # Most have one dimension. A LayerNorm over images has three, and its class may be any library's.
    return parameter.ndim <= 1 or name.endswith("bias") or "Norm" in type(module).__name__
