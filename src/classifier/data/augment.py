"""Augmentation and normalisation of a whole batch at a time, on the device that trains.

The random numbers of a batch depend only on the seed, the epoch, the batch's number and the rank. A training that
resumes in mid-epoch therefore sees the same images, and nothing else that draws random numbers is disturbed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.v2.functional import pad

from classifier.data.batches import derive_seed

PaddingMode = Literal["constant", "reflect", "edge"]
Flip = Literal["none", "random", "alternating"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to training images. The defaults do nothing.

    Attributes:
        crop_padding: Pixels that are added to each side before a crop of the original size at a random place.
        padding_mode: What is added: black (``constant``), the ``edge``'s pixels, or the image, mirrored (``reflect``).
        flip: Mirror images left to right: ``random`` flips each with probability 1/2; ``alternating`` flips each in
            every other epoch, beginning at random (https://github.com/KellerJordan/cifar10-airbench), so that two
            epochs show each image in both ways.
        cutout: Side, in pixels, of the square at a random place that is replaced by the mean colour
            (https://arxiv.org/abs/1708.04552); the image's edges cut it off.
        mixup: The parameter of the Beta distribution from which mixup draws its weight of each batch
            (https://arxiv.org/abs/1710.09412); 0: no mixup.
    """

    crop_padding: int = 0
    padding_mode: PaddingMode = "constant"
    flip: Flip = "none"
    cutout: int = 0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("padding_mode", get_args(PaddingMode)), ("flip", get_args(Flip))):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"Unknown `data.augment.{name}` {value!r}. Valid choices are {', '.join(choices)}")

    def check_size(self, height: int, width: int) -> None:
        """Raise a ValueError if images of this size cannot be augmented so."""
        if self.padding_mode == "reflect" and self.crop_padding >= min(height, width):
            raise ValueError(
                f"The value of `data.augment.crop_padding` is {self.crop_padding}, but with `padding_mode=reflect` it "
                f"must be less than the images' {height}x{width} pixels"
            )


class Normalizer:
    """Turns uint8 images ``(n, channels, height, width)`` into numbers of mean 0 and standard deviation 1.

    Args:
        mean: One per channel, of pixels between 0 and 1.
        std: The same of the standard deviation.
        dtype: Of the result. The arithmetic is done in float32.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self._shift = torch.tensor(mean, dtype=torch.float32).mul(255).view(-1, 1, 1)
        self._scale = torch.tensor(std, dtype=torch.float32).mul(255).reciprocal().view(-1, 1, 1)

    def to_float(self, images: Tensor) -> Tensor:
        """Return normalised images as float32; images of floating-point numbers are normalised already."""
        if images.is_floating_point():
            return images
        if self._shift.device != images.device:
            self._shift, self._scale = self._shift.to(images.device), self._scale.to(images.device)
        return images.float().sub_(self._shift).mul_(self._scale)

    def __call__(self, images: Tensor) -> Tensor:
        return self.to_float(images).to(self.dtype)


class Augmenter:
    """Makes training batches: crops, flips, normalises, cuts out and mixes.

    Args:
        options: What to do.
        normalizer: Applied to the cropped images.
        classes: How many there are, for mixup's targets.
        size: How many training images there are, for the alternating flip.
        seed: Of all random numbers.
        rank: Other ranks draw other numbers.
    """

    def __init__(
        self, options: Augmentation, normalizer: Normalizer, *, classes: int, size: int, seed: int, rank: int = 0
    ) -> None:
        self.options, self.normalizer, self.classes = options, normalizer, classes
        self.seed, self.rank = seed, rank
        # The same for all ranks, which see an image in turns.
        self._flipped_first = torch.rand(size, generator=torch.Generator().manual_seed(seed)) < 0.5

    def make_windows(self, images: Tensor) -> Tensor:
        """Pad images and return a view ``(n, channels, rows, columns, height, width)`` of all crops' places."""
        padding = self.options.crop_padding
        height, width = images.shape[-2:]
        if padding:
            images = pad(images, [padding] * 4, padding_mode=self.options.padding_mode)
        return images.unfold(2, height, 1).unfold(3, width, 1)

    def __call__(
        self, windows: Tensor, rows: Tensor, classes: Tensor, ids: Tensor, *, epoch: int, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Return a training batch.

        Args:
            windows: All images that ``rows`` index, by ``make_windows``.
            rows: The batch's images among ``windows``, ``(n,)``.
            classes: The batch's classes, ``(n,)``.
            ids: Which images of the training split these are, ``(n,)``.
            epoch: The epoch, from 0.
            batch: The batch's number in it, from 0.

        Returns:
            Images ``(n, channels, height, width)``, normalised; classes ``(n,)``, or with mixup the probability of
            each, ``(n, classes)``, as float32.
        """
        options, device, n = self.options, windows.device, len(rows)
        seed = derive_seed(self.seed, epoch, batch, self.rank)
        generator = torch.Generator(device).manual_seed(seed >> 1)
        images = self._crop(windows, rows, generator)
        if options.flip != "none":
            images = flip(images, self._choose_flipped(ids, epoch, generator))
        floats = self.normalizer.to_float(images)
        if options.cutout:
            cut_out(floats, options.cutout, generator)
        if options.mixup:
            weight = random.Random(seed).betavariate(options.mixup, options.mixup)
            partners = torch.randperm(n, generator=generator, device=device)
            floats = torch.lerp(floats[partners], floats, weight)
            targets = one_hot(classes, self.classes).float()
            classes = torch.lerp(targets[partners], targets, weight)
        return floats.to(self.normalizer.dtype), classes

    def _crop(self, windows: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        if not self.options.crop_padding:
            return windows[:, :, 0, 0][rows]
        places = torch.randint(windows.shape[2], (2, len(rows)), generator=generator, device=windows.device)
        return windows[rows, :, places[0], places[1]]

    def _choose_flipped(self, ids: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        if self.options.flip == "random":
            return torch.rand(len(ids), generator=generator, device=ids.device) < 0.5
        if self._flipped_first.device != ids.device:
            self._flipped_first = self._flipped_first.to(ids.device)
        return self._flipped_first[ids] ^ bool(epoch % 2)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Return ``images`` with those mirrored that are ``chosen``, a mask ``(n,)``."""
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def cut_out(images: Tensor, side: int, generator: torch.Generator) -> None:
    """Set a square of ``side`` pixels in each image to 0, in place; its centre is a pixel drawn at random."""
    height, width = images.shape[-2:]
    inside = []
    for length in (height, width):
        centres = torch.randint(length, (len(images), 1), generator=generator, device=images.device)
        offsets = torch.arange(length, device=images.device) - (centres - side // 2)
        inside.append((offsets >= 0) & (offsets < side))
    images.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def measure_moments(images: Tensor) -> tuple[Sequence[float], Sequence[float]]:
    """Return each channel's mean and standard deviation, of pixels between 0 and 1.

    Raises:
        ValueError: A channel is the same everywhere.
    """
    counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(images.shape[1])])
    shares = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ values
    std = ((shares * (values - mean[:, None]) ** 2).sum(1)).sqrt()
    if not bool((std > 0).all()):
        raise ValueError("The training images are of one colour: set `data.mean` and `data.std`")
    return mean.tolist(), std.tolist()
