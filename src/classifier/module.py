"""The LightningModule: any network, optimizer and schedule, trained as an image classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from classifier.averaging import copy_network, update_average
from classifier.metrics import EvaluationMetrics, MeanLoss
from classifier.schedulers import count_steps

Batch = tuple[Tensor, Tensor]


class ImageClassifier(LightningModule):
    """Logs ``train/loss``, and of ``val`` and ``test`` the loss, accuracy, F1 and calibration error, per epoch.

    Targets are classes ``(n,)``, in training also probabilities ``(n, classes)``, which mixup makes.

    Args:
        network: Takes images ``(n, channels, height, width)``, and returns logits ``(n, classes)``.
        optimizer: Makes the optimizer of a network.
        scheduler: Makes the schedule of an optimizer and the number of steps of the training.
        ema: The decay of an exponential moving average of the weights, which is what is evaluated; None: no average.
        label_smoothing: How much of each target is spread over all classes, in training alone.
    """

    EVALUATED = ("loss", "accuracy", "f1", "calibration_error")
    """What is logged of ``val`` and ``test``."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[[Optimizer, int | None], LRScheduler],
        *,
        ema: float | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.ema = None if ema is None else copy_network(network)
        self._decay, self._label_smoothing = ema, label_smoothing
        self.evaluation = EvaluationMetrics()
        self._train_loss = MeanLoss()
        self.make_optimizer, self.make_scheduler = optimizer, scheduler

    def forward(self, images: Tensor) -> Tensor:
        network = self.network if self.training or self.ema is None else self.ema
        logits: Tensor = network(images)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))  # a loss in 16 bits has three digits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, targets = batch
        if targets.is_floating_point():
            targets = targets.to(torch.promote_types(targets.dtype, torch.float32))
        loss = cross_entropy(self(images), targets, label_smoothing=self._label_smoothing)
        self._train_loss.update(loss, len(targets))
        return loss

    def on_train_epoch_start(self) -> None:  # not called if an epoch is resumed after some of its batches
        self._train_loss.reset()

    def on_train_epoch_end(self) -> None:
        # All ranks have equally many images. Logged once: a call of Lightning's log costs as much as such a step.
        self.log("train/loss", self._train_loss.compute(), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["train_loss"] = self._train_loss.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._train_loss.load_state_dict(checkpoint.get("train_loss", {}))  # earlier versions saved none
        state = checkpoint["state_dict"]  # of a training that may have had another `ema`
        averaged = {key for key in state if key.startswith("ema.")}
        if self.ema is None:
            for key in averaged:
                del state[key]
        elif not averaged:
            state |= {f"ema.{key}": state[f"network.{key}"] for key in self.ema.state_dict()}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: Batch) -> None:
        images, classes = batch
        logits = self(images)
        self.evaluation.update(logits, classes)
        self._log({f"{split}/loss": cross_entropy(logits, classes)}, classes)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.forward(batch[0])

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _log_evaluation(self, split: str) -> None:
        metrics = {f"{split}/{name}": value for name, value in self.evaluation.compute().items()}
        self.log_dict(metrics, sync_dist=True)  # the ranks have the same values already; else Lightning would warn

    def _log(self, values: dict[str, Tensor], classes: Tensor) -> None:
        # With the batch size a shorter last batch counts less, and Lightning need not infer it.
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(classes), sync_dist=True)

    def _average(self, *step: object) -> None:
        if self.ema is not None and self._decay is not None:
            update_average(self.ema, self.network, decay=self._decay, step=self.global_step)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.network)
        if self.ema is not None:
            optimizer.register_step_post_hook(self._average)
        scheduler = self.make_scheduler(optimizer, count_steps(self.trainer))
        lr_scheduler: dict[str, Any] = {"scheduler": scheduler, "interval": "step"}
        # Lightning takes any scheduler; its type allows only those of torch.
        return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}  # type: ignore[return-value]
