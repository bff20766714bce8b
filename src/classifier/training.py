"""``train``: run one training that a Hydra configuration describes, and return its metric."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsFloat

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from classifier import loggers
from classifier.artifacts import ModelArtifacts, read_log_model
from classifier.callbacks import RunStatistics, make_callbacks
from classifier.compute import CompileTimer, Compute, prepare_module, prepare_process
from classifier.data import Digits
from classifier.instantiate import instantiate
from classifier.module import ImageClassifier
from classifier.optimizers import read_optimizer
from wandbsweep.current import current_trial
from wandbsweep.lightning import AtomicCheckpointIO, BestCheckpoint, Reproducible, SweepCallback, is_intact

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float | None:
    """Train as ``cfg`` says, and return the metric of the best epoch, whose weights are in ``checkpoints/best.ckpt``.

    The metric is the sweep's; in a plain run it is ``cfg.metric``. It also decides which epoch is best. The test split
    is measured with that epoch's weights. If no checkpoints are written, everything is of the last epoch.

    Returns:
        None if the sweep's metric was not logged; the sweep reports that.

    Raises:
        ValueError: ``test=true`` inside a sweep, or a plain run did not log ``cfg.metric``.
    """
    trial = current_trial()
    if cfg.test and trial:
        raise ValueError("test=true inside a sweep: the test split must not guide a search")
    compute = prepare_process(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    module = _make_module(cfg, data, compute)
    with _mute_lightning(), loggers.open_logger(cfg) as logger:
        trainer = _make_trainer(cfg, logger)
        trainer.fit(module, datamodule=data, ckpt_path=_find_checkpoint(cfg), weights_only=False)
        best = next((c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint) and c.metrics), None)
        metrics = dict(best.metrics) if best else _floats(trainer.callback_metrics)
        origin = _describe_epoch(best, trainer.current_epoch - 1)  # before the test: it loads the callbacks' states too
        if cfg.test:
            weights = best.best_model_path if best else None
            tested = trainer.test(module, datamodule=data, ckpt_path=weights, verbose=False, weights_only=False)
            metrics |= _floats(tested[0])
        if not trial:
            _log_metrics(metrics, origin)
        if trial and trial.metric:
            return metrics.get(trial.metric)
        return _read_metric(metrics, cfg.metric)


def _make_module(cfg: DictConfig, data: Digits, compute: Compute) -> LightningModule:
    network = instantiate(cfg.model, _partial_=True)(input_shape=data.input_shape, classes=data.classes)
    module = ImageClassifier(network, read_optimizer(cfg.optimizer), instantiate(cfg.scheduler, _partial_=True))
    prepare_module(module, network, compute)
    return module


def _make_trainer(cfg: DictConfig, logger: Logger | bool) -> Trainer:
    saved = _locate_checkpoint(cfg) if cfg.trainer.enable_checkpointing else None
    # Reports come after what the configuration adds: early stopping may have decided that this epoch is the last.
    sweep = SweepCallback(cfg.report_every_n_steps, checkpoint=saved)
    callbacks: list[Callback] = [Reproducible(cfg.seed), RunStatistics(), CompileTimer()]
    callbacks += [*make_callbacks(cfg), sweep]
    if saved:
        callbacks += _make_checkpoints(cfg, saved)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():  # the sweep's agents requeue jobs, so Lightning must not
        several = int(os.environ["SLURM_NTASKS"]) > 1  # else Lightning starts the processes of several devices
        plugins.append(SLURMEnvironment(auto_requeue=False) if several else LightningEnvironment())
    options: dict[str, Any] = {"logger": logger, "callbacks": callbacks, "plugins": plugins}
    if any(isinstance(callback, ProgressBar) for callback in callbacks):
        options["enable_progress_bar"] = True
    elif current_trial():
        options["enable_progress_bar"] = False
    trainer: Trainer = instantiate(cfg.trainer, _partial_=True)(**options)
    return trainer


def _locate_checkpoint(cfg: DictConfig) -> Path:
    return Path(cfg.output_dir, "checkpoints", "last.ckpt")


def _make_checkpoint(path: Path) -> ModelCheckpoint:
    """Make the callback that overwrites one file; a run into an old directory makes no ``last-v1``."""
    return ModelCheckpoint(path.parent, filename=path.stem, save_on_train_epoch_end=True, enable_version_counter=False)


def _make_checkpoints(cfg: DictConfig, saved: Path) -> list[Callback]:
    last = _make_checkpoint(saved)
    best = BestCheckpoint(saved.parent, *_find_objective(cfg))
    artifacts: list[Callback] = []
    if loggers.is_wandb(cfg) and (which := read_log_model(cfg)) is not None:
        artifacts = [ModelArtifacts(which, best=best, last=last)]
    return [best, last, *artifacts]  # best first, so that last.ckpt holds its state


def _find_objective(cfg: DictConfig) -> tuple[str, str]:
    """Return the metric that decides which epoch is best, and its goal: the sweep's, or in a plain run ``cfg``'s.

    The test split decides nothing: of ``test/loss`` the epoch is chosen by ``val/loss``.
    """
    if (trial := current_trial()).metric:
        return trial.metric, trial.goal
    split, _, name = str(cfg.metric).rpartition("/")
    goal = cfg.goal or ("minimize" if name.endswith("loss") else "maximize")
    return (f"val/{name}" if split == "test" else cfg.metric), goal


def _find_checkpoint(cfg: DictConfig) -> Path | None:
    path = _locate_checkpoint(cfg)
    return path if current_trial().resumed and is_intact(path) else None


def _floats(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
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


def _read_metric(metrics: Mapping[str, float], name: str) -> float:
    if name in metrics:
        return metrics[name]
    seen = ", ".join(sorted(metrics)) or "none"
    raise ValueError(f"The metric {name!r} was not logged. Logged were: {seen}")


# Messages of Lightning that every run would repeat, whatever its options.
_MUTED_MESSAGES = (
    "GPU available:",
    "TPU available:",
    "HPU available:",
    "💡 Tip:",
    "`Trainer.fit` stopped:",
    "LOCAL_RANK:",
    "Loading `train_dataloader`",
    "Using 16bit Automatic Mixed",
    "Using bfloat16 Automatic Mixed",
    "Loaded model weights from the checkpoint",
    "Restor",  # "Restoring states from the checkpoint path", "Restored all states …"
)
_MUTED_WARNINGS = (
    # The data fits in memory, and a batch is one indexing operation: workers made it five times slower.
    r".*does not have many workers.*",
    # Fewer batches than trainer.log_every_n_steps; all our metrics are logged per epoch.
    r".*is smaller than the logging interval.*",
    # Lightning 2.6 on torch 2.14 causes it.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # A resumed trial finds its checkpoint there.
    r"Checkpoint directory .* exists and is not empty",
    # If SLURM is installed: the launcher starts the agents, and each trains alone.
    r"The `srun` command is available on your system but is not used",
    # A trial's directory exists before its logger.
    r"Experiment logs directory .* exists and is not empty",
)


@contextmanager
def _mute_lightning() -> Iterator[None]:
    def keep(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.getMessage().startswith(_MUTED_MESSAGES)

    rank_zero_log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero_log.addFilter(keep)
    try:
        with warnings.catch_warnings():
            for message in _MUTED_WARNINGS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        rank_zero_log.removeFilter(keep)
