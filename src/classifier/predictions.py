"""``log_predictions``: the confusion matrix and misclassified images of a training's best epoch, to all loggers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix
from torchvision.utils import make_grid, save_image

from wandbsweep.lightning import BestCheckpoint

_MOST_CLASSES = 100
"""W&B shows no larger matrix; the file holds any."""


def log_predictions(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule,
    *,
    split: str,
    best: BestCheckpoint | None,
    images: int,
) -> None:
    """Log what the best epoch's weights predict: to W&B, TensorBoard and MLflow, and for all but W&B as files.

    Args:
        trainer: The trainer, after the training; without a logger nothing is done.
        module: The trained module.
        data: The images, and the names of their classes, if it has ``class_names``.
        split: ``val`` or ``test``.
        best: The callback that kept the best epoch; None: the last epoch's weights are used.
        images: How many misclassified images are logged, the most confident predictions first; 0: nothing is logged.
    """
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    if not images or not trainer.loggers or trainer.fast_dev_run or not loader:  # type: ignore[attr-defined]
        return
    names = [str(name) for name in getattr(data, "class_names", range(data.classes))]  # type: ignore[attr-defined]
    collector = _Collector(len(names), images)
    trainer.callbacks.append(collector)  # type: ignore[attr-defined]
    # The module has the best weights already after a test, or if the last epoch was the best.
    is_last = best is None or split == "test" or best.epoch == trainer.current_epoch - 1
    weights = None if is_last or best is None else best.best_model_path
    trainer.predict(module, loader, return_predictions=False, ckpt_path=weights, weights_only=False)
    found = Predictions(names, collector.confusion.compute().cpu(), *collector.wrong)
    if trainer.is_global_zero and found.confusion.any():  # with ddp_spawn, other processes have the counts
        for logger in trainer.loggers:
            _log(logger, split, found, Path(trainer.default_root_dir), trainer.global_step)


class Predictions(NamedTuple):
    """The confusion matrix ``(true, predicted)``, and the images ``(n, channels, height, width)`` that are wrong."""

    names: Sequence[str]
    confusion: Tensor
    images: Tensor
    true: Tensor
    predicted: Tensor
    confidence: Tensor

    def list_captions(self) -> list[str]:
        rows = zip(self.true.tolist(), self.predicted.tolist(), self.confidence.tolist(), strict=True)
        return [f"{self.names[true]}, predicted {self.names[other]} ({sure:.3f})" for true, other, sure in rows]


class _Collector(Callback):
    """Counts predictions over all ranks, and keeps this rank's most confident wrong ones, on the host."""

    def __init__(self, classes: int, images: int) -> None:
        self.confusion = MulticlassConfusionMatrix(classes, validate_args=False)
        self._count = images
        none = torch.empty(0, dtype=torch.long)
        self.wrong: tuple[Tensor, ...] = (torch.empty(0), none, none, torch.empty(0))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.confusion.to(pl_module.device)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *index: int
    ) -> None:
        images, true = batch
        confidence, predicted = outputs.float().softmax(1).max(1)
        self.confusion.update(predicted, true)
        rows = (predicted != true).nonzero().squeeze(1)
        rows = rows[confidence[rows].argsort(descending=True)[: self._count]]
        parts = [part[rows].cpu() for part in (images.float(), true, predicted, confidence)]
        if len(self.wrong[0]):
            parts = [torch.cat(pair) for pair in zip(self.wrong, parts, strict=True)]
        first = parts[-1].argsort(descending=True)[: self._count]
        self.wrong = tuple(part[first] for part in parts)


def _log(logger: Any, split: str, found: Predictions, directory: Path, step: int) -> None:
    """Log to one logger, each in its way."""
    known = {cls.__name__ for cls in type(logger).__mro__}  # their modules import packages that may be missing
    if "WandbLogger" in known:
        _log_to_wandb(logger.experiment, split, found, step)
        return
    paths = _write_files(split, found, directory)
    if "MLFlowLogger" in known:
        for path in paths:
            logger.experiment.log_artifact(logger.run_id, str(path))
    elif "TensorBoardLogger" in known and len(found.images):
        grid = make_grid(found.images, nrow=4, normalize=True, scale_each=True)
        logger.experiment.add_image(f"{split}/misclassified", grid, step)
        logger.experiment.flush()


def _log_to_wandb(run: Any, split: str, found: Predictions, step: int) -> None:
    import wandb

    shown: dict[str, Any] = {"trainer/global_step": step}
    if len(found.images):
        shown[f"{split}/misclassified"] = [
            wandb.Image(make_grid([image], padding=0, normalize=True), caption=caption)
            for image, caption in zip(found.images, found.list_captions(), strict=True)
        ]
    if len(found.names) <= _MOST_CLASSES:
        cells = [
            [true, predicted, count]
            for true, row in zip(found.names, found.confusion.tolist(), strict=True)
            for predicted, count in zip(found.names, row, strict=True)
        ]
        columns = ["Actual", "Predicted", "nPredictions"]  # of wandb.plot.confusion_matrix, which takes predictions
        shown[f"{split}/confusion_matrix"] = wandb.plot_table(
            "wandb/confusion_matrix/v1",
            wandb.Table(columns=[*columns], data=cells),
            {column: column for column in columns},
            {"title": f"Confusion matrix ({split})"},
        )
    run.log(shown)


def _write_files(split: str, found: Predictions, directory: Path) -> list[Path]:
    """Write the matrix, and the images, four a row, with a list of their classes; return the files."""
    matrix, listed = directory / f"{split}_confusion_matrix.csv", directory / f"{split}_misclassified.csv"
    with matrix.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ predicted", *found.names])
        writer.writerows([name, *row] for name, row in zip(found.names, found.confusion.tolist(), strict=True))
    if not len(found.images):
        return [matrix]
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true", "predicted", "confidence"])
        for true, predicted, confidence in zip(found.true, found.predicted, found.confidence, strict=True):
            writer.writerow([found.names[true], found.names[predicted], f"{confidence:.6g}"])
    picture = directory / f"{split}_misclassified.png"
    save_image(found.images, picture, nrow=4, normalize=True, scale_each=True)
    return [matrix, listed, picture]
