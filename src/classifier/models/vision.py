"""torchvision's classifiers, made to fit the images and classes of any dataset."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import interpolate

from classifier.models.heads import find_head, iterate_tail

Stem = Literal["auto", "small", "imagenet"]

SMALL_IMAGE = 64
"""Pixels. The ImageNet stem reduces an image fourfold at once, which leaves too little of one that is not larger."""


def torchvision_classifier(
    *,
    name: str,
    input_shape: Sequence[int],
    classes: int,
    dropout: float | None = None,
    stem: Stem = "auto",
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """Make a classifier of torchvision, with random weights, whose names in the state_dict are torchvision's.

    The head has ``classes`` logits. The auxiliary classifiers of ``googlenet`` and ``inception_v3`` are left out.

    Args:
        name: One of ``torchvision.models.list_models(module=torchvision.models)``.
        input_shape: Channels, height and width of an image. The first convolution takes any number of channels.
        classes: The number of logits.
        dropout: The probability that a feature is dropped before the last layer; None: as the architecture has it.
        stem: Of a ResNet; ``small`` is a 3x3 convolution of stride 1 without pooling, as for CIFAR-10; ``auto`` is
            ``small`` for images of at most 64 pixels.
        image_size: Pixels to which images are resized first, since many architectures take no small ones.
        options: What else the architecture takes, such as ``zero_init_residual``.

    Raises:
        ValueError: Unknown ``name`` or ``stem``, or the architecture does not take images of this size.
    """
    check_name(name)
    if stem not in ("auto", "small", "imagenet"):
        raise ValueError(f"The value of `model.stem` is {stem!r}; the choices are auto, small and imagenet")
    height, width = (image_size, image_size) if image_size else (input_shape[1], input_shape[2])
    try:
        network: nn.Module = torchvision.models.get_model(
            name, num_classes=classes, **_find_special_options(name, height, width), **options
        )
        if stem == "small" or (stem == "auto" and max(height, width) <= SMALL_IMAGE):
            _make_stem_small(network, name, required=stem == "small")
        if input_shape[0] != 3:
            _take_channels(network, input_shape[0])
        if dropout is not None:
            _set_dropout(network, dropout)
        if image_size:
            network.register_forward_pre_hook(functools.partial(_resize, size=image_size))
        _try_out(network, input_shape)
    except (AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{name} does not take images of {height}x{width} pixels: {error}. "
            "`model.image_size` resizes them, e.g. to 224, for which torchvision's classifiers are made"
        ) from error
    return network


def check_name(name: str) -> None:
    """Raise ValueError unless ``name`` is a classifier of torchvision."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(f"The value of `model.name` is {name!r}; torchvision's classifiers are {', '.join(known)}")


def fold_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weight ``(out, channels, ...)`` of a convolution from that of one which takes three.

    The layer computes for a grey image what it would compute for three equal channels.
    """
    repeated = [index % 3 for index in range(channels)]
    return weight.sum(1, keepdim=True) if channels == 1 else weight[:, repeated] * (3 / channels)


def find_first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return the convolution that takes the image, and its name."""
    return next(((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)), None)


def _find_special_options(name: str, height: int, width: int) -> dict[str, Any]:
    if name.startswith("vit_"):
        assert height == width, "they must be square"
        return {"image_size": height}
    if name == "maxvit_t":
        return {"input_size": (height, width)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}  # without the second they warn that it will change
    return {}


def _make_stem_small(network: nn.Module, name: str, *, required: bool) -> None:
    if not isinstance(network, torchvision.models.ResNet):
        if required:
            raise ValueError(f"`model.stem=small` is for ResNets, not for {name}")
        return
    conv = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision
    network.conv1, network.maxpool = conv, nn.Identity()


def _take_channels(network: nn.Module, channels: int) -> None:
    first = find_first_convolution(network)
    assert first is not None  # every classifier of torchvision begins with one
    conv = first[1]
    conv.weight = nn.Parameter(fold_channels(conv.weight.detach(), channels))
    conv.in_channels = channels


def _set_dropout(network: nn.Module, probability: float) -> None:
    layers = [layer for layer in iterate_tail(network) if isinstance(layer, nn.Dropout)]
    for layer in layers:
        layer.p = probability
    if probability and not layers:
        # A hook, since a further layer would change the names of the parameters.
        find_head(network)[1].register_forward_pre_hook(functools.partial(_drop, probability=probability))


def _drop(layer: nn.Module, inputs: tuple[Tensor], *, probability: float) -> tuple[Tensor]:
    return (drop(inputs[0], probability, layer.training),)


def _resize(network: nn.Module, inputs: tuple[Tensor], *, size: int) -> tuple[Tensor]:
    return (interpolate(inputs[0], size=(size, size), mode="bilinear", align_corners=False),)


def _try_out(network: nn.Module, input_shape: Sequence[int]) -> None:
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, *input_shape, device=device))
    network.train()
