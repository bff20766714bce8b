"""Images and their classes, in memory or in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy
import torch
from PIL import Image
from torch import Tensor

_CHUNK = 256
_MODES = {1: "L", 3: "RGB"}


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


class TensorSamples(NamedTuple):
    """Images in memory, ``(n, channels, height, width)``: uint8, or floating-point numbers that are normalised."""

    images: Tensor
    classes: Tensor

    def read(self, indices: Tensor) -> Sequence[Tensor]:
        return self.images[indices].unbind()

    def select(self, indices: Tensor) -> TensorSamples:
        return TensorSamples(self.images[indices], self.classes[indices])

    def to(self, device: torch.device) -> TensorSamples:
        return TensorSamples(self.images.to(device), self.classes.to(device))


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
    try:
        with Image.open(str(path)) as opened:  # a numpy.str_ would stand as such in messages
            image: Image.Image = opened
            if opened.mode.startswith("I"):  # 16 bits, which convert() would clip
                image = Image.fromarray((numpy.array(opened) >> 8).astype(numpy.uint8))
            elif "transparency" in opened.info:
                image = opened.convert("RGBA")
            pixels = numpy.array(image.convert(_MODES[channels]))
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: a PNG's parts
        raise ValueError(f"Cannot read the image {path}: {error}") from error
    return torch.from_numpy(pixels).view(*pixels.shape[:2], channels).permute(2, 0, 1)


def decode_all(samples: FileSamples, transform: Callable[[Tensor], Tensor] | None = None) -> numpy.ndarray:
    """Decode all images, in threads, and return them as uint8 ``(n, channels, height, width)``.

    Args:
        samples: The images.
        transform: Applied to each; all must then be of one size.

    Raises:
        ValueError: Images differ in size, or one cannot be read.
    """

    def read(index: int) -> Tensor:
        image = read_image(samples.paths[index], samples.channels)
        return transform(image) if transform else image

    count = len(samples.paths)
    images = numpy.empty((count, *read(0).shape), dtype=numpy.uint8)

    def fill(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            image = read(index).numpy()
            if image.shape != images.shape[1:]:
                raise ValueError(f"{describe_sizes(images[0].shape, image.shape)} ({samples.paths[index]})")
            images[index] = image

    threads = ThreadPoolExecutor(torch.get_num_threads())
    try:
        for _ in threads.map(fill, range(0, count, _CHUNK)):
            pass
    finally:
        threads.shutdown(cancel_futures=True)
    return images


def describe_sizes(one: Sequence[int], other: Sequence[int]) -> str:
    """Return what to say if images of two shapes ``(channels, height, width)`` are not of one size."""
    return (
        f"Images differ in size: {one[-2]}x{one[-1]} and {other[-2]}x{other[-1]} pixels. Set `data.image_size`, to "
        "which all are brought"
    )
