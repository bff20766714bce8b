"""Images and their classes, in memory or in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import to_dtype

# Formats of torchvision's own decoder; PIL, which is half as fast, reads the others.
_FAST_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_CHUNK = 256
_MODES = {1: (ImageReadMode.GRAY, "L"), 3: (ImageReadMode.RGB, "RGB")}


class Samples(Protocol):
    """Images that can be read by index."""

    @property
    def classes(self) -> Tensor:
        """The class of each image, ``(n,)``, int64."""
        ...

    def read(self, indices: Tensor) -> Sequence[Tensor]:
        """Return uint8 images ``(channels, height, width)``, which may differ in size."""
        ...

    def select(self, indices: Tensor) -> Samples:
        """Return some of the samples, in the order of ``indices``."""
        ...


@dataclass(frozen=True)
class TensorSamples:
    """Images in memory: uint8, ``(n, channels, height, width)``."""

    images: Tensor
    classes: Tensor

    def read(self, indices: Tensor) -> Sequence[Tensor]:
        return self.images[indices].unbind()

    def select(self, indices: Tensor) -> TensorSamples:
        return TensorSamples(self.images[indices], self.classes[indices])


@dataclass(frozen=True)
class FileSamples:
    """Images in files, decoded when they are read, as ``channels`` (1: grey, 3: RGB), whatever the file has."""

    paths: numpy.ndarray
    classes: Tensor
    channels: int

    def read(self, indices: Tensor) -> Sequence[Tensor]:
        return [read_image(path, self.channels) for path in self.paths[indices.numpy()]]

    def select(self, indices: Tensor) -> FileSamples:
        return FileSamples(self.paths[indices.numpy()], self.classes[indices], self.channels)


def read_image(path: str | Path, channels: int) -> Tensor:
    """Return an image as uint8 ``(channels, height, width)``.

    Raises:
        ValueError: The file is no image that can be read.
    """
    mode, pil_mode = _MODES[channels]
    try:
        if str(path).lower().endswith(_FAST_SUFFIXES):
            image: Tensor = to_dtype(decode_image(str(path), mode), torch.uint8, scale=True)
            return image
        with Image.open(path) as opened:
            pixels = numpy.array(opened.convert(pil_mode))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"Cannot read the image {path}: {reason}") from error
    return torch.from_numpy(pixels).view(*pixels.shape[:2], channels).permute(2, 0, 1)


def load_into_memory(samples: FileSamples, transform: Callable[[Tensor], Tensor] | None = None) -> TensorSamples:
    """Decode all images, in threads. ``transform`` gives each the size of the first.

    Raises:
        ValueError: Images differ in size, or one cannot be read.
    """

    def read(index: int) -> Tensor:
        image = read_image(samples.paths[index], samples.channels)
        return transform(image) if transform else image

    count = len(samples.paths)
    images = torch.empty((count, *read(0).shape), dtype=torch.uint8)

    def fill(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            image = read(index)
            if image.shape != images.shape[1:]:
                raise ValueError(
                    f"Images differ in size: {samples.paths[0]} has {describe_size(images[0])} pixels, "
                    f"{samples.paths[index]} has {describe_size(image)}"
                )
            images[index] = image

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for _ in threads.map(fill, range(0, count, _CHUNK)):
            pass
    return TensorSamples(images, samples.classes)


def describe_size(image: Tensor) -> str:
    return f"{image.shape[-2]}x{image.shape[-1]}"
