"""``make_trainer``: Lightning's Trainer with the callbacks that a trial needs, and where a training starts."""

from __future__ import annotations

import os
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from omegaconf import DictConfig

from classifier import loggers
from classifier.artifacts import ModelArtifacts, read_log_model
from classifier.callbacks import RunStatistics, make_callbacks
from classifier.compute import CompileTimer
from classifier.epoch_loop import use_lean_loop
from classifier.instantiate import instantiate
from classifier.objective import find_objective
from wandbsweep.current import current_trial
from wandbsweep.lightning import AtomicCheckpointIO, BestCheckpoint, Reproducible, SweepCallback, is_intact


class NoProfiler(PassThroughProfiler):
    """Costs nothing: Lightning's own makes a generator for each of some sixty hooks of a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return _NOTHING


_NOTHING = nullcontext()


def make_trainer(cfg: DictConfig) -> Trainer:
    """Make the Trainer that ``cfg.trainer`` describes, with our callbacks and those of ``cfg.callbacks``.

    It has no loggers yet: they are opened when everything else has been accepted.
    """
    # `fast_dev_run` is a test of the code, which leaves no checkpoint that another run could take for a result.
    saves = cfg.trainer.enable_checkpointing and not cfg.trainer.get("fast_dev_run")
    saved = _locate_checkpoint(cfg) if saves else None
    # Reports come after what the configuration adds: early stopping may have decided that this epoch is the last.
    sweep = SweepCallback(cfg.report_every_n_steps, checkpoint=saved)
    callbacks: list[Callback] = [Reproducible(cfg.seed), RunStatistics(), CompileTimer()]
    callbacks += [*make_callbacks(cfg, logs=bool(cfg.get("logger"))), sweep]
    if saved:
        callbacks += _make_checkpoints(cfg, saved)
    # Artifacts are made of the file of every epoch.
    every_s = 0.0 if any(isinstance(callback, ModelArtifacts) for callback in callbacks) else cfg.checkpoint_every_s
    plugins: list[Any] = [AtomicCheckpointIO(every_s)]
    if SLURMEnvironment.detect():  # the sweep's agents requeue jobs, so Lightning must not
        several = int(os.environ["SLURM_NTASKS"]) > 1  # else Lightning starts the processes of several devices
        plugins.append(SLURMEnvironment(auto_requeue=False) if several else LightningEnvironment())
    options: dict[str, Any] = {"logger": False, "callbacks": callbacks, "plugins": plugins}
    if any(isinstance(callback, ProgressBar) for callback in callbacks):
        options["enable_progress_bar"] = True
    elif current_trial():
        options["enable_progress_bar"] = False
    if not cfg.trainer.get("profiler"):
        options["profiler"] = NoProfiler()
    trainer: Trainer = instantiate(cfg.trainer, _partial_=True)(**options)
    use_lean_loop(trainer)
    return trainer


def _locate_checkpoint(cfg: DictConfig) -> Path:
    return Path(cfg.output_dir, "checkpoints", "last.ckpt")


def _make_checkpoint(path: Path) -> ModelCheckpoint:
    """Make the callback that overwrites one file; a run into an old directory makes no ``last-v1``."""
    return ModelCheckpoint(path.parent, filename=path.stem, save_on_train_epoch_end=True, enable_version_counter=False)


def _make_checkpoints(cfg: DictConfig, saved: Path) -> list[Callback]:
    last = _make_checkpoint(saved)
    best = BestCheckpoint(saved.parent, *find_objective(cfg))
    artifacts: list[Callback] = []
    if loggers.is_wandb(cfg) and (which := read_log_model(cfg)) is not None:
        artifacts = [ModelArtifacts(which, best=best, last=last)]
    return [best, last, *artifacts]  # best first, so that last.ckpt holds its state


def find_checkpoint(cfg: DictConfig) -> Path | None:
    """Return the checkpoint that the training continues from.

    A resumed trial continues from its own ``last.ckpt``, whatever ``ckpt_path`` says.

    Raises:
        ValueError: ``ckpt_path`` is no file, or no checkpoint.
    """
    own = _locate_checkpoint(cfg)
    if current_trial().resumed and is_intact(own):
        return own
    if cfg.ckpt_path is None:
        return None
    path = Path(cfg.ckpt_path)
    if not path.is_file():
        raise ValueError(f"The value of `ckpt_path` is {cfg.ckpt_path!r}, but there is no such file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"The value of `ckpt_path` is {cfg.ckpt_path!r}, but that is no checkpoint, or a damaged one")
    return path
