"""The metric that a training is judged by, and ``check_metrics``: whether the training logs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from classifier.callbacks import RunStatistics
from classifier.data import ImageData
from classifier.module import ImageClassifier
from wandbsweep.current import current_trial

_PACKAGES = ("classifier", "lightning", "wandbsweep")
"""Of their callbacks it is known what they log."""


def find_objective(cfg: DictConfig) -> tuple[str, str]:
    """Return the metric that decides which epoch is best, and its goal: the sweep's, or in a plain run ``cfg``'s.

    The test split decides nothing: of ``test/loss`` the epoch is chosen by ``val/loss``.
    """
    if (trial := current_trial()).metric:
        return trial.metric, trial.goal
    if cfg.goal not in (None, "minimize", "maximize"):
        raise ValueError(f"The value of `goal` is {cfg.goal!r}; the choices are minimize, maximize and null")
    split, _, name = str(cfg.metric).rpartition("/")
    goal = cfg.goal or ("minimize" if name.endswith("loss") else "maximize")
    return (f"val/{name}" if split == "test" else cfg.metric), goal


def check_metrics(cfg: DictConfig, trainer: Trainer, module: LightningModule, data: Any) -> None:
    """Check that what the training is judged by, and what callbacks monitor, is logged.

    What another LightningModule or a callback of your own logs is known only afterwards: then the metric of a plain run
    is looked for after the first validation.

    Args:
        cfg: The configuration.
        trainer: Its callbacks may have a ``monitor``.
        module: The module that is trained.
        data: The data module, set up if it is an ImageData.

    Raises:
        ValueError: A metric is none of those that are logged.
    """
    sweep = current_trial().metric
    named = {"the sweep's metric" if sweep else "`metric`": sweep or cfg.metric}
    for name, options in (cfg.get("callbacks") or {}).items():
        if options and options.get("monitor"):
            named[f"`callbacks.{name}.monitor`"] = options.monitor
    known = _list_metrics(cfg, trainer, module, data)
    if known is None:
        if not sweep and not str(cfg.metric).startswith("test/"):
            trainer.callbacks.append(_MetricCheck(cfg.metric))  # type: ignore[attr-defined]
        return
    for what, metric in named.items():
        if metric not in known:
            listed = ", ".join(sorted(known))
            raise ValueError(f"The value of {what} is {metric!r}, which is not logged. Logged are: {listed}")


def _list_metrics(cfg: DictConfig, trainer: Trainer, module: LightningModule, data: Any) -> list[str] | None:
    """Return the names of all metrics; None: not all are known."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    others = [type(callback).__module__.partition(".")[0] not in _PACKAGES for callback in callbacks]
    if type(module) is not ImageClassifier or not isinstance(data, ImageData) or any(others):
        return None
    limits = {"val": trainer.limit_val_batches, "test": trainer.limit_test_batches if cfg.test else 0}
    splits = [split for split, limit in limits.items() if split in data.splits and limit != 0]
    evaluated = [f"{split}/{name}" for split in splits for name in ImageClassifier.EVALUATED]
    costs = [
        name for name in RunStatistics.METRICS if "device" not in name or trainer.strategy.root_device.type == "cuda"
    ]
    return ["train/loss", *evaluated, *costs, *["compile_seconds"] * bool(cfg.compute.get("compile"))]


def read_metric(metrics: Mapping[str, Any], name: str) -> float:
    """Return a metric of a training.

    Raises:
        ValueError: It was not logged.
    """
    if name in metrics:
        return float(metrics[name])
    raise ValueError(f"The metric {name!r} was not logged. Logged were: {', '.join(sorted(metrics)) or 'none'}")


class _MetricCheck(Callback):
    """Ends a training that has validated once and trained an epoch, and has not logged its metric."""

    def __init__(self, metric: str) -> None:
        self._metric, self._validated = metric, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = self._validated or not trainer.sanity_checking

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # What is logged at an epoch's end is known when the next one starts.
        if self._validated or (trainer.current_epoch and not trainer.enable_validation):
            read_metric(trainer.callback_metrics, self._metric)
