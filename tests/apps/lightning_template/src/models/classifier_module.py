"""A classifier that logs losses and accuracies of its three splits, and the best validation accuracy so far."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification.accuracy import Accuracy


class ClassifierModule(LightningModule):
    def __init__(self, net: torch.nn.Module, optimizer: Any, scheduler: Any) -> None:
        super().__init__()
        # Not as hyperparameters: torch loads no checkpoint that holds functions, unless it is told to.
        self.net, self.optimizer, self.scheduler = net, optimizer, scheduler
        self.criterion = torch.nn.CrossEntropyLoss()
        for split in ("train", "val", "test"):
            setattr(self, f"{split}_acc", Accuracy(task="multiclass", num_classes=10))
            setattr(self, f"{split}_loss", MeanMetric())
        self.val_acc_best = MaxMetric()

    def on_train_start(self) -> None:
        for metric in (self.val_loss, self.val_acc, self.val_acc_best):
            metric.reset()

    def step(self, batch: Any, split: str) -> torch.Tensor:
        x, y = batch
        scores = self.net(x)
        loss: torch.Tensor = self.criterion(scores, y)
        for name, value in (("loss", (loss,)), ("acc", (scores.argmax(1), y))):
            metric = getattr(self, f"{split}_{name}")
            metric(*value)
            self.log(f"{split}/{name}", metric, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def training_step(self, batch: Any) -> torch.Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any) -> None:
        self.step(batch, "val")

    def test_step(self, batch: Any) -> None:
        self.step(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_acc.compute())
        # As a value: Lightning would reset the metric after every epoch.
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(params=self.trainer.model.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.scheduler(optimizer=optimizer), "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": {**scheduler, "interval": "epoch", "frequency": 1}}
