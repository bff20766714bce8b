"""scikit-learn's digits: 1,797 real 8x8 images that are part of the package, so nothing is downloaded."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from wandbsweep.lightning import EpochBatches, ResumableLoader


class Digits(LightningDataModule):
    """Images ``(n, 1, 8, 8)``, of zero mean and unit variance over the training split; classes ``(n,)``.

    ``split_seed`` differs from ``seed``, since runs of one configuration with several seeds must share a test split.
    """

    input_shape = (1, 8, 8)
    classes = 10

    def __init__(
        self,
        *,
        batch_size: int,
        val_size: int = 300,
        test_size: int = 300,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.val_size, self.test_size = val_size, test_size
        self.seed, self.split_seed = seed, split_seed
        self.splits: dict[str, TensorDataset] = {}
        self._train: ResumableLoader | None = None
        self._start: dict[str, int] = {}

    def setup(self, stage: str | None = None) -> None:
        if not self.splits:
            self.splits = _load_splits(self.val_size, self.test_size, self.split_seed)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        data = self.splits["train"]
        batches = EpochBatches(len(data), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)
        self._train = ResumableLoader(data, sampler=batches, **_loader_options())
        self.load_state_dict(self._start)
        return self._train

    # The loader's state is part of ours: Lightning restores loaders only if the number of steps was not asked for
    # before, and schedules ask for it.

    def state_dict(self) -> dict[str, int]:
        return self._train.state_dict() if self._train else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._start = state_dict
        if self._train and state_dict:
            self._train.load_state_dict(state_dict)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._load_at_once("val")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._load_at_once("test")

    def _load_at_once(self, split: str) -> DataLoader[tuple[Tensor, ...]]:
        data = self.splits[split]
        return DataLoader(data, sampler=[torch.arange(len(data))], **_loader_options())


def _loader_options() -> dict[str, Any]:
    # batch_size=None: a "sample" is a batch of indices, so that loading a batch is one indexing operation instead of a
    # Python loop over its samples. Workers would cost more than they save.
    # A separate generator: a loader draws a seed in every iter(), by default from the stream that dropout uses too,
    # and a resuming Lightning calls iter() at another moment.
    return {"batch_size": None, "num_workers": 0, "generator": torch.Generator()}


def _load_splits(val_size: int, test_size: int, seed: int) -> dict[str, TensorDataset]:
    """Load the three splits: stratified by class, disjoint, and the same for the same seed."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, classes = load_digits(return_X_y=True)
    rest, test = train_test_split(range(len(classes)), test_size=test_size, stratify=classes, random_state=seed)
    train, val = train_test_split(rest, test_size=val_size, stratify=classes[rest], random_state=seed)
    x = torch.as_tensor(images, dtype=torch.float32).reshape(-1, *Digits.input_shape)
    y = torch.as_tensor(classes, dtype=torch.long)
    x = (x - x[train].mean()) / x[train].std()
    return {name: TensorDataset(x[i], y[i]) for name, i in [("train", train), ("val", val), ("test", test)]}
