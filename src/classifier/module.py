"""The LightningModule: any network, optimizer and schedule, trained as an image classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Batch = tuple[Tensor, Tensor]


class ImageClassifier(LightningModule):
    """Logs ``train/loss``, ``val/loss``, ``val/accuracy``, ``test/loss`` and ``test/accuracy`` per epoch."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer, self.make_scheduler = optimizer, scheduler

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, classes = batch
        loss = cross_entropy(self(images), classes)
        self._log({"train/loss": loss}, classes)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: Batch) -> None:
        images, classes = batch
        logits = self(images)
        accuracy = (logits.argmax(1) == classes).float().mean()
        self._log({f"{split}/loss": cross_entropy(logits, classes), f"{split}/accuracy": accuracy}, classes)

    def _log(self, values: dict[str, Tensor], classes: Tensor) -> None:
        # With the batch size a shorter last batch counts less, and Lightning need not infer it.
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(classes), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.parameters())
        scheduler = self.make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        lr_scheduler: dict[str, Any] = {"scheduler": scheduler, "interval": "step"}
        # Lightning takes any scheduler; its type allows only those of torch.
        return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}  # type: ignore[return-value]
