"""Metrics of an evaluation, counted on the device and computed once, at its end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryCalibrationError, MulticlassConfusionMatrix


class EvaluationMetrics(nn.Module):
    """Accuracy, macro-F1 and calibration error over all batches and ranks.

    Both torchmetrics classes get what every batch is reduced to first: the class that is predicted, and its
    probability. One confusion matrix holds what accuracy and F1 need, and costs a third of torchmetrics' own classes
    for them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.confusion: MulticlassConfusionMatrix | None = None
        self.calibration = BinaryCalibrationError(n_bins=15, validate_args=False)

    @torch.no_grad()
    def update(self, logits: Tensor, classes: Tensor) -> None:
        """Count a batch: logits ``(n, classes)``, and the true classes ``(n,)``."""
        if self.confusion is None:  # the network decides how many classes there are
            self.confusion = MulticlassConfusionMatrix(logits.shape[1], validate_args=False).to(logits.device)
        confidences, predicted = logits.float().softmax(1).max(1)
        self.confusion.update(predicted, classes)
        # That the prediction is right is an event whose probability the confidence should be.
        self.calibration.update(confidences, predicted == classes)

    def compute(self) -> dict[str, Tensor]:
        """Compute the metrics over all ranks, and forget the batches; empty if there were none."""
        if self.confusion is None:
            return {}
        counts: Tensor = self.confusion.compute().float()
        correct, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
        seen = true + predicted > 0  # as torchmetrics: a class that neither occurs nor is predicted has no F1
        f1 = 2 * correct[seen] / (true + predicted)[seen]
        values = {
            "accuracy": correct.sum() / counts.sum(),
            "f1": f1.mean(),
            "calibration_error": self.calibration.compute(),
        }
        self.confusion.reset()
        self.calibration.reset()
        return values


class MeanLoss:
    """The mean loss over the images of an epoch, added up on the device."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._total: Tensor | float = 0.0
        self._images = 0

    def update(self, loss: Tensor, images: int) -> None:
        """Add a batch: the mean loss of its ``images``."""
        self._total = loss.detach() * images + self._total
        self._images += images

    def compute(self) -> Tensor | float:
        return self._total / self._images

    def state_dict(self) -> dict[str, Any]:
        return {"total": self._total, "images": self._images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``, whose total may lie on another device than the next batches."""
        self._total, self._images = float(state.get("total", 0.0)), state.get("images", 0)
