"""Small networks that train in minutes on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn


def mlp(*, input_shape: Sequence[int], classes: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Make a multilayer perceptron, with dropout after each hidden layer.

    Args:
        input_shape: Channels, height and width of an image.
        classes: The number of logits.
        hidden: The width of each hidden layer.
        dropout: The probability that a hidden unit is dropped.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(input_shape)
    for wider in hidden:
        layers += [nn.Linear(width, wider), nn.ReLU(), nn.Dropout(dropout)]
        width = wider
    return nn.Sequential(*layers, nn.Linear(width, classes))


def convnet(*, input_shape: Sequence[int], classes: int, channels: Sequence[int], dropout: float) -> nn.Sequential:
    """Make a convolutional network: 3x3 convolutions with batch normalisation, and pooling after all but the last.

    Args:
        input_shape: Channels, height and width of an image.
        classes: The number of logits.
        channels: The width of each convolution. The last one's output is averaged over the image.
        dropout: The probability that a feature is dropped before the last layer.
    """
    layers: list[nn.Module] = []
    width = input_shape[0]
    for i, wider in enumerate(channels):
        layers += [nn.Conv2d(width, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]
        if i + 1 < len(channels):
            layers.append(nn.MaxPool2d(2))
        width = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(width, classes))


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def airbench(*, input_shape: Sequence[int], classes: int, width: float, dropout: float) -> nn.Sequential:
    """Make a network like that of Keller Jordan's cifar10-airbench94, which is fast on images of CIFAR-10's size.

    It has few, wide layers, pools right after the first convolution of each block, and its convolutions begin as the
    identity. Unlike the original it learns its first layer, and has ReLU instead of GELU, which is slow on a CPU.

    Args:
        input_shape: Channels, height and width of an image.
        classes: The number of logits.
        width: Multiplies the channels of the three blocks, which are 64, 256 and 256 at 1. The cost grows with its
            square: 20, 66 and 240 million operations for a 32x32 image at 0.25, 0.5 and 1.
        dropout: The probability that a feature is dropped before the last layer.
    """
    stem = 24
    layers = [nn.Conv2d(input_shape[0], stem, 2), nn.ReLU()]
    small = min(input_shape[1:]) < 16  # three poolings would leave nothing
    channels = stem
    for wider in (max(8, round(factor * width / 8) * 8) for factor in (64, 256, 256)):
        layers += [_identity_convolution(channels, wider), nn.MaxPool2d(2, ceil_mode=small)]
        layers += [nn.BatchNorm2d(wider), nn.ReLU()]
        layers += [_identity_convolution(wider, wider), nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    head = nn.Linear(channels, classes)
    # Scaled logits: else the first steps are too large at a rate that suits the rest of the training.
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Dropout(dropout), head, Scale(1 / 9))


def _identity_convolution(channels: int, wider: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, wider, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:channels])
    return layer
