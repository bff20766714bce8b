"""Splits a data set once, by a seed of its own, with the same share of each class in each part."""

from __future__ import annotations

import torch
from torch import Tensor


def count_images(size: float, total: int, name: str) -> int:
    """Return how many of ``total`` images ``size`` means: a whole number of images, or a fraction below 1.

    Args:
        size: The option's value.
        total: How many images there are to take from; at least one must be left.
        name: The option's name, for the message.

    Raises:
        ValueError: It takes all images.
    """
    count = round(size * total) if size < 1 else int(size)
    if count >= total:
        raise ValueError(f"The value of `{name}` is {size!r}, but there are only {total} images to take from")
    return count


def draw_stratified(classes: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` images, with each class's share as in ``classes`` (to the nearest image).

    Args:
        classes: The class of each image, ``(n,)``, int64.
        count: How many to draw, at most n.
        seed: The same seed draws the same images.

    Returns:
        The indices drawn and those left, each in random order.
    """
    shuffled = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    counts = torch.bincount(classes)
    shares = counts.double() * (count / max(1, len(classes)))
    take = shares.floor().long()
    rest = count - int(take.sum())
    take[torch.argsort(shares - take, descending=True, stable=True)[:rest]] += 1
    # Each image's number among those of its class, in the shuffled order.
    by_class = torch.argsort(classes[shuffled], stable=True)
    number = torch.empty_like(by_class)
    number[by_class] = torch.arange(len(classes)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    drawn = number < take[classes[shuffled]]
    return shuffled[drawn], shuffled[~drawn]
