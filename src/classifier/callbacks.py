"""The callbacks of a training: those that ``cfg.callbacks`` names, and ``RunStatistics``."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor, ProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from omegaconf import DictConfig

from classifier.instantiate import instantiate
from wandbsweep.current import current_trial, measure_peaks, reset_peaks


def make_callbacks(cfg: DictConfig, *, logs: bool) -> list[Callback]:
    """Make the callbacks under ``cfg.callbacks``, each with a ``_target_``, but for those that would have no effect.

    These are a progress bar inside a sweep, which prints one line a trial, and, unless the training ``logs``,
    Lightning's monitors of what only loggers show: they would raise.
    """
    without: tuple[type[Callback], ...] = (ProgressBar,) if current_trial() else ()
    if not logs:
        without += (LearningRateMonitor, DeviceStatsMonitor)
    made = [instantiate(each) for each in (cfg.get("callbacks") or {}).values() if each]
    return [each for each in made if not isinstance(each, without)]


class RunStatistics(Callback):
    """Logs, once an epoch, what the training costs.

    ``train/images_per_second`` (of all devices, validation not counted), ``train/seconds_per_epoch`` (with validation),
    ``memory/host_peak_mib`` of this process, on a GPU ``memory/device_peak_mib``, and ``model/parameters``.
    """

    METRICS = (
        *("train/images_per_second", "train/seconds_per_epoch"),
        *("memory/host_peak_mib", "memory/device_peak_mib", "model/parameters"),
    )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        reset_peaks()
        self._device = pl_module.device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        # Those of averaged weights are copies.
        named = pl_module.named_parameters()
        self._parameters = sum(parameter.numel() for name, parameter in named if not name.startswith("ema."))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_epoch()  # Lightning does not call on_train_epoch_start when it resumes in mid-epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._began = time.perf_counter()
        self._evaluated_s, self._images = 0.0, 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any) -> None:
        self._images += len(batch[0][0])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _is_part_of_training(trainer):
            self._evaluation_began = self._read_clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _is_part_of_training(trainer):
            self._evaluated_s += self._read_clock() - self._evaluation_began

    def _read_clock(self) -> float:
        if self._device.type == "cuda":  # it computes what was asked of it before
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = self._read_clock() - self._began
        metrics = {
            "train/images_per_second": self._images * trainer.world_size / max(seconds - self._evaluated_s, 1e-9),
            "train/seconds_per_epoch": seconds,
            "model/parameters": float(self._parameters),
            **measure_peaks(),
        }
        pl_module.log_dict(metrics, sync_dist=True, reduce_fx="max")  # of several ranks the slowest and largest


def _is_part_of_training(trainer: Trainer) -> bool:
    """Whether a validation is one between training steps, and not of ``trainer.validate`` or before the first step."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
