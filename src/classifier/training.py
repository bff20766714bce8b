"""One training run, from a composed configuration to a number."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsFloat

from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from classifier import loggers
from classifier.artifacts import ModelArtifacts, best_checkpoint, wanted
from classifier.checkpoints import AtomicCheckpointIO, Reproducible, whole
from classifier.data import Digits
from classifier.module import ImageClassifier
from wandbsweep.current import current_trial
from wandbsweep.lightning import SweepCallback

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float | None:
    """Train as ``cfg`` says; return the last value of the sweep's metric, in a plain run of ``cfg.metric``.

    None: the sweep's metric was never measured; the sweep itself says so, and knows whether that is the script's fault.

    The last, not the best: it belongs to the weights in ``checkpoints/last.ckpt``. A sweep reads the best
    from the trial's reports and needs this number only where nothing was reported.
    """
    trial = current_trial()
    if cfg.test and trial:
        raise ValueError("test=true inside a sweep: the test split must not guide a search")
    seed_everything(cfg.seed, verbose=False)
    data = instantiate(cfg.data)
    module = _module(cfg, data)
    with _without_noise(), loggers.opened(cfg) as logger:
        trainer = _trainer(cfg, logger)
        trainer.fit(module, datamodule=data, ckpt_path=_resume_from(cfg), weights_only=False)
        metrics = _floats(trainer.callback_metrics)
        if cfg.test:
            metrics |= _floats(trainer.test(module, datamodule=data, verbose=False)[0])
        if not trial:
            _show(metrics)
        if trial and trial.metric:
            return metrics.get(trial.metric)
        return _value(metrics, cfg.metric)


def _module(cfg: DictConfig, data: Digits) -> LightningModule:
    network = instantiate(cfg.model, _partial_=True)(input_shape=data.input_shape, classes=data.classes)
    return ImageClassifier(network, instantiate(cfg.optimizer), instantiate(cfg.scheduler))


def _trainer(cfg: DictConfig, logger: Logger | bool) -> Trainer:
    saved = _last_checkpoint(cfg) if cfg.trainer.enable_checkpointing else None
    callbacks: list[Callback] = [Reproducible(cfg.seed), SweepCallback(cfg.report_every_n_steps, checkpoint=saved)]
    if saved:
        callbacks += _checkpoints(cfg, saved)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():  # the sweep's agents requeue, so Lightning must not
        several = int(os.environ["SLURM_NTASKS"]) > 1  # else Lightning itself starts what several devices need
        plugins.append(SLURMEnvironment(auto_requeue=False) if several else LightningEnvironment())
    trainer: Trainer = instantiate(cfg.trainer, _partial_=True)(logger=logger, callbacks=callbacks, plugins=plugins)
    return trainer


def _last_checkpoint(cfg: DictConfig) -> Path:
    return Path(cfg.output_dir, "checkpoints", "last.ckpt")


def _checkpoint(path: Path) -> ModelCheckpoint:
    """One file, written over: a run into an old directory does not count ``last-v1`` up."""
    return ModelCheckpoint(path.parent, filename=path.stem, save_on_train_epoch_end=True, enable_version_counter=False)


def _checkpoints(cfg: DictConfig, saved: Path) -> list[Callback]:
    last = _checkpoint(saved)
    if not loggers.is_wandb(cfg) or (which := wanted(cfg)) is None:
        return [last]
    best = best_checkpoint(cfg, saved)  # first, so that last.ckpt knows of it
    return [best, last, ModelArtifacts(which, best=best, last=last)]


def _resume_from(cfg: DictConfig) -> Path | None:
    path = _last_checkpoint(cfg)
    return path if current_trial().resumed and whole(path) else None


def _floats(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _show(metrics: Mapping[str, float]) -> None:
    width = max(map(len, metrics), default=0)
    lines = [f"  {name:<{width}}  {value:.4f}" for name, value in sorted(metrics.items())]
    log.info("\n".join(["Final metrics:", *lines]))


def _value(metrics: Mapping[str, float], name: str) -> float:
    if name in metrics:
        return metrics[name]
    seen = ", ".join(sorted(metrics)) or "none"
    raise ValueError(f"The metric {name!r} was not logged. Logged were: {seen}")


# What Lightning says in every run, whatever it is told: a thousand times in a sweep of a thousand trials.
_CHATTER = (
    "GPU available:",
    "TPU available:",
    "HPU available:",
    "💡 Tip:",
    "`Trainer.fit` stopped:",
    "LOCAL_RANK:",
    "Loading `train_dataloader`",
    "Restor",  # "Restoring states from the checkpoint path", "Restored all states …"
)
_HARMLESS = (
    # The data fits in memory and is indexed a batch at a time: workers made it five times slower.
    r".*does not have many workers.*",
    # Fewer batches than trainer.log_every_n_steps; all our metrics are logged per epoch.
    r".*is smaller than the logging interval.*",
    # Lightning 2.6 on torch 2.14, about itself.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # A resumed trial finds its own checkpoint there.
    r"Checkpoint directory .* exists and is not empty",
    # Where SLURM is installed: agents are started as the launcher starts them, and each trains by itself.
    r"The `srun` command is available on your system but is not used",
    # A trial's directory is there before its logger is.
    r"Experiment logs directory .* exists and is not empty",
)


@contextmanager
def _without_noise() -> Iterator[None]:
    def keep(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.getMessage().startswith(_CHATTER)

    chatty = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    chatty.addFilter(keep)
    try:
        with warnings.catch_warnings():
            for message in _HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        chatty.removeFilter(keep)
