"""Batches: made on the device from images that lie there, or decoded by worker processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy
import torch
from torch import Tensor
from torch.utils.data import Dataset

from classifier.data.samples import Samples, describe_sizes
from wandbsweep.lightning import EpochBatches, Position

Batch = tuple[Tensor, Tensor]
Transform = Callable[[Tensor], Tensor]


class TrainBatches:
    """Training batches, made by ``make``; saves and restores its position through Lightning's stateful protocol.

    A ``DataLoader`` costs more than a small batch's training step, and copies each batch to the device.

    Args:
        sampler: The indices of each batch. Lightning calls its ``set_epoch``.
        make: Makes a batch from its indices, the epoch and the batch's number in it.
    """

    def __init__(self, sampler: EpochBatches, make: Callable[[Tensor, int, int], Batch]) -> None:
        self.sampler, self.make = sampler, make
        self._position = Position(0, 0)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for number, indices in enumerate(self.sampler, start=self.sampler.skipped):
            self._position = Position(self.sampler.epoch, number + 1)
            yield self.make(indices, self.sampler.epoch, number)

    def state_dict(self) -> dict[str, int]:
        return self._position._asdict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._position = self.sampler.start = Position(**state)


class EvaluationBatches:
    """The batches of one evaluation, always the same: ``make`` makes each from its indices."""

    def __init__(self, indices: Sequence[Tensor], make: Callable[[Tensor], Batch]) -> None:
        self.indices, self.make = indices, make

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.make, self.indices)


class Numbered(NamedTuple):
    """The indices of a batch, and which batch it is. An ``epoch`` of -1: of an evaluation."""

    indices: Tensor
    epoch: int
    number: int


class NumberedBatches(EpochBatches):
    """``EpochBatches`` that tell a worker which batch it makes."""

    def __iter__(self) -> Iterator[Numbered]:  # type: ignore[override]
        for number, indices in enumerate(super().__iter__(), start=self.skipped):
            yield Numbered(indices, self.epoch, number)


class RawBatch(NamedTuple):
    """What a worker makes: uint8 images ``(n, channels, height, width)``, which are finished on the device."""

    images: Tensor
    classes: Tensor
    source: Numbered


class WorkerBatches(Dataset[RawBatch]):
    """Makes whole batches in worker processes, so that its random numbers do not depend on how many there are."""

    def __init__(self, samples: Samples, transform: Transform | None, *, seed: int = 0, rank: int = 0) -> None:
        self.samples, self.transform = samples, transform
        self.seed, self.rank = seed, rank

    def __getitem__(self, source: Numbered) -> RawBatch:
        images = self.samples.read(source.indices)
        if self.transform:
            with seed_generators(self.seed, source.epoch + 1, source.number, self.rank):
                images = [self.transform(image) for image in images]
        other = next((image for image in images if image.shape != images[0].shape), None)
        if other is not None:
            raise ValueError(describe_sizes(images[0].shape, other.shape))
        return RawBatch(torch.stack(list(images)), self.samples.classes[source.indices], source)


def derive_seed(*key: int) -> int:
    """Return a seed of 64 bits that depends on all numbers of ``key``, of which none is negative."""
    return int(numpy.random.SeedSequence(key).generate_state(1, numpy.uint64)[0])


@contextmanager
def seed_generators(*key: int) -> Iterator[None]:
    """Seed the generators that transforms draw from within the block, and restore their states after it."""
    seed = derive_seed(*key)
    python, arrays = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed >> 1)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(arrays)


def split_evaluation(size: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Sequence[Tensor]:
    """Return the indices of a rank's evaluation batches: each image is in one batch of one rank.

    All ranks have the same number of batches: with DDP a batch is collective, and a rank with one more would wait for
    the others forever.

    Raises:
        ValueError: There are fewer images than ranks.
    """
    if size < world_size:
        raise ValueError(f"{size} images cannot be evaluated by {world_size} devices: use fewer `trainer.devices`")
    indices = torch.arange(size)
    if world_size == 1:
        return torch.split(indices, batch_size)
    smallest, largest = size // world_size, -(-size // world_size)
    batches = min(-(-largest // batch_size), smallest)
    return torch.tensor_split(indices[rank::world_size], batches)
