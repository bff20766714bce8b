"""A loader that resumes in mid-epoch, at the batch where the training was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler


class Position(NamedTuple):
    """A training's position in its data: how many batches of which epoch it has taken."""

    epoch: int
    batches: int


class EpochBatches(Sampler[Tensor]):
    """Batches of shuffled indices. Their order depends only on ``seed`` and the epoch.

    A trial that resumes from a checkpoint therefore trains on the data that it would have seen, and no random state
    needs to be saved. ``start`` is the position at which an earlier attempt left the data: that epoch begins there.
    Lightning calls ``set_epoch``.

    Args:
        size: How many samples there are.
        batch_size: Samples in a batch; an epoch's last batch may be smaller.
        seed: Of the order.
        rank: Which rank's samples these are.
        world_size: How many ranks share the samples of an epoch, evenly: up to ``world_size - 1`` samples are left out.
        drop_last: Leave out the last batch if it is smaller than ``batch_size``.
    """

    start = Position(0, 0)

    def __init__(
        self, size: int, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1, drop_last: bool = False
    ) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def _share(self) -> int:
        # The same number of samples for every rank: a rank with one more batch would wait for the others forever.
        return self.size // self.world_size

    def __len__(self) -> int:
        whole, rest = divmod(self._share, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def skipped(self) -> int:
        """How many batches of this epoch an earlier attempt took."""
        return self.start.batches if self.start.epoch == self.epoch else 0

    def __iter__(self) -> Iterator[Tensor]:
        # A generator, so this runs at the first batch: when it resumes, Lightning calls iter() before set_epoch().
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator)
        mine = order[self.rank :: self.world_size][: self._share]
        yield from torch.split(mine, self.batch_size)[self.skipped : len(self)]


class ResumableLoader(DataLoader[Any]):
    """Loads ``EpochBatches``, and saves and restores its position through Lightning's stateful-loader protocol."""

    sampler: EpochBatches
    _position = Position(0, 0)

    # torch's return type is its own private iterators.
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # Counted when the training gets them: workers take them from the sampler earlier.
        for count, batch in enumerate(super().__iter__(), start=self.sampler.skipped + 1):
            self._position = Position(self.sampler.epoch, count)
            yield batch

    def state_dict(self) -> dict[str, int]:
        return self._position._asdict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._position = self.sampler.start = Position(**state)
