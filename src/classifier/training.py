"""``train``: run one training that a Hydra configuration describes, and return its metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, SupportsFloat

from lightning.pytorch import LightningModule, Trainer, seed_everything
from omegaconf import DictConfig

from classifier.checks import check_values
from classifier.compute import Compute, prepare_module, prepare_process
from classifier.data import ImageData
from classifier.instantiate import instantiate
from classifier.loggers import open_loggers
from classifier.models import make_network
from classifier.muting import mute_lightning
from classifier.objective import check_metrics, read_metric
from classifier.optimizers import read_optimizer
from classifier.predictions import log_predictions
from classifier.printing import print_config
from classifier.trainer import find_checkpoint, make_trainer
from wandbsweep.current import current_trial
from wandbsweep.lightning import BestCheckpoint

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float | None:
    """Train as ``cfg`` says, and return the metric of the best epoch, whose weights are in ``checkpoints/best.ckpt``.

    The metric is the sweep's; in a plain run it is ``cfg.metric``. It also decides which epoch is best. The test split
    is measured with that epoch's weights. If no checkpoints are written, everything is of the last epoch.

    Returns:
        None if the sweep's metric was not logged; the sweep reports that.

    Raises:
        ValueError: A value is refused, before a logger is opened; or a plain run did not log ``cfg.metric``.
    """
    trial = current_trial()
    if cfg.test and trial:
        raise ValueError("test=true inside a sweep: the test split must not guide a search")
    check_values(cfg)
    if cfg.print_config and not trial:
        print_config(cfg)
    compute = prepare_process(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    module = _make_module(cfg, data, compute)
    with mute_lightning():
        trainer, checkpoint = make_trainer(cfg), find_checkpoint(cfg)
        if isinstance(data, ImageData):  # what it refuses must be refused before a logger has opened a run
            data.check()
        check_metrics(cfg, trainer, module, data)
        with open_loggers(cfg) as opened:
            trainer.loggers = opened
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
            return _evaluate(cfg, trainer, module, data)


def _make_module(cfg: DictConfig, data: Any, compute: Compute) -> LightningModule:
    network = make_network(cfg.model, input_shape=data.input_shape, classes=data.classes)
    optimizer, scheduler = read_optimizer(cfg.optimizer), instantiate(cfg.scheduler, _partial_=True)
    has_end = cfg.trainer.max_epochs != -1 or cfg.trainer.max_steps != -1
    scheduler(optimizer(network), _SOME_STEPS if has_end else None)  # to hear now whether an option is refused
    module: LightningModule = instantiate(cfg.module, _partial_=True)(network, optimizer, scheduler)
    prepare_module(module, network, compute)
    return module


_SOME_STEPS = 1000


def _evaluate(cfg: DictConfig, trainer: Trainer, module: LightningModule, data: Any) -> float | None:
    """Test the trained module if ``cfg`` says so, log its predictions and metrics, and return the metric."""
    trial = current_trial()
    best = next((c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint) and c.metrics), None)
    metrics = dict(best.metrics) if best else _to_floats(trainer.callback_metrics)
    origin = _describe_epoch(best, trainer.current_epoch - 1)  # before the test: it loads the callbacks' states too
    if cfg.test:
        weights = best.best_model_path if best else None
        tested = trainer.test(module, datamodule=data, ckpt_path=weights, verbose=False, weights_only=False)
        metrics |= _to_floats(tested[0])
    log_predictions(trainer, module, data, split="test" if cfg.test else "val", best=best, images=cfg.misclassified)
    if not trial and trainer.is_global_zero:
        _log_metrics(metrics, origin)
    if trial and trial.metric:
        return metrics.get(trial.metric)
    return read_metric(metrics, cfg.metric)


def _to_floats(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _describe_epoch(best: BestCheckpoint | None, last: int) -> str:
    """Return which epoch the metrics are of."""
    if best is None:
        return f"the last epoch, {last}"
    return f"epoch {best.epoch} of 0 to {last}, the best by {best.monitor}: {best.best_model_path}"


def _log_metrics(metrics: Mapping[str, float], origin: str) -> None:
    """Log metrics to nine digits, which tell all numbers of 32 bits apart."""
    width = max(map(len, metrics), default=0)
    lines = [f"  {name:<{width}}  {value:.9g}" for name, value in sorted(metrics.items())]
    log.info("\n".join([f"Of {origin}", "Final metrics:", *lines]))
