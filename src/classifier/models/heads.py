"""The head of a network: its last layer with parameters, which computes the logits."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def find_head(network: nn.Module) -> tuple[str, nn.Module]:
    """Return the head's name and the head. What is before it is the backbone.

    Raises:
        ValueError: The network has no parameters.
    """
    layers = _find_layers(network)
    if not layers:
        raise ValueError("The network has no parameters, and so no head")
    return layers[-1]


def iterate_tail(network: nn.Module) -> Iterator[nn.Module]:
    """Iterate over the modules that come after the last parameters of the backbone, such as dropout and the head."""
    layers = _find_layers(network)
    reached = len(layers) == 1
    for module in network.modules():
        if reached:
            yield module
        reached = reached or module is layers[-2][1]


def freeze_backbone(network: nn.Module) -> None:
    """Let only the head learn. The statistics of the backbone's normalisation layers stay as they are."""
    network.requires_grad_(False).eval()  # Lightning keeps the modes of modules
    for module in iterate_tail(network):
        module.training = True
    find_head(network)[1].requires_grad_(True)


def _find_layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, module)
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
