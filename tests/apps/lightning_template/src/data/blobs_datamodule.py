"""Ten overlapping clusters of points: data that need no download."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, TensorDataset


class BlobsDataModule(LightningDataModule):
    def __init__(self, batch_size: int = 64, noise: float = 3.0, pause_s: float = 0.0, num_workers: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.splits: dict[str, Dataset[Any]] = {}

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        random = torch.Generator().manual_seed(0)
        centers = torch.randn(10, 64, generator=random)
        for name, count in {"train": 640, "val": 320, "test": 320}.items():
            classes = torch.arange(count) % 10
            noise = torch.randn(count, 64, generator=random) * self.hparams["noise"]
            self.splits[name] = TensorDataset(centers[classes] + noise, classes)

    def make_loader(self, split: str) -> DataLoader[Any]:
        return DataLoader(
            self.splits[split],
            batch_size=self.hparams["batch_size"],
            num_workers=self.hparams["num_workers"],
            shuffle=split == "train",
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        time.sleep(self.hparams["pause_s"])  # for tests that interrupt a training
        return batch

    def train_dataloader(self) -> DataLoader[Any]:
        return self.make_loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        return self.make_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.make_loader("test")
