"""The exponential moving average of a network's weights (EMA), which is often more accurate than the network."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def copy_network(network: nn.Module) -> nn.Module:
    """Return a copy to hold the average: nothing in it is trained, and it is in evaluation mode."""
    return copy.deepcopy(network).requires_grad_(False).eval()


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Move the averaged weights towards those of the network, and the statistics of normalisation layers likewise.

    Args:
        averaged: A copy of the network.
        network: What is trained.
        decay: How much of the average a step keeps. The first steps keep less, ``(1 + step) / (10 + step)``: else the
            average of a short training would be of its beginning.
        step: How many steps came before.
    """
    pairs = [*zip(_list_tensors(averaged), _list_tensors(network), strict=True)]
    olds, news = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
    get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(olds, news, None)  # type: ignore[no-untyped-call]
    for old, new in pairs:
        if not old.is_floating_point():  # how many batches a layer has seen
            old.copy_(new)


def _list_tensors(network: nn.Module) -> list[Tensor]:
    return [*chain(network.parameters(), network.buffers())]
