"""Networks from images ``(n, channels, height, width)`` to logits ``(n, classes)``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import nn


def mlp(*, input_shape: Sequence[int], classes: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(input_shape)
    for wider in hidden:
        layers += [nn.Linear(width, wider), nn.ReLU(), nn.Dropout(dropout)]
        width = wider
    return nn.Sequential(*layers, nn.Linear(width, classes))


def convnet(*, input_shape: Sequence[int], classes: int, channels: Sequence[int], dropout: float) -> nn.Sequential:
    """One 3x3 convolution per entry of ``channels``; each but the last halves the image, and the last is averaged."""
    layers: list[nn.Module] = []
    width = input_shape[0]
    for i, wider in enumerate(channels):
        layers += [nn.Conv2d(width, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]
        if i + 1 < len(channels):
            layers.append(nn.MaxPool2d(2))
        width = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(width, classes))
