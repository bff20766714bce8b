"""``LeanEpochLoop``: Lightning's loop over an epoch's batches, without the hooks that nobody defines."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.optim import Optimizer

from classifier.data.batches import TrainBatches

_VERSIONS = ("2.6.",)
"""The versions of Lightning whose loop this one repeats. Others keep their own."""
_STEP_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
_MODULE_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "optimizer_step", "optimizer_zero_grad", "backward"),
    *("configure_gradient_clipping", "lr_scheduler_step", "on_before_batch_transfer", "transfer_batch_to_device"),
    *("on_after_batch_transfer", *_STEP_HOOKS),
)


def use_lean_loop(trainer: Trainer) -> None:
    """Let ``trainer`` leave out, in every step, the hooks that nobody defines, if this version of Lightning is known.

    Lightning calls some twenty hooks a step, each with an entry of a profiler and the name for it. To a network whose
    step takes a millisecond that is half as much again.
    """
    if lightning.__version__.startswith(_VERSIONS):
        own = trainer.fit_loop.epoch_loop
        trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, own.min_steps, own.max_steps)


class LeanEpochLoop(_TrainingEpochLoop):
    """Does what Lightning's loop does, in the same order, and calls the same hooks of those who define them.

    It does so if nothing but ``on_train_batch_start`` and ``on_train_batch_end`` of callbacks is defined, on one
    device, with one optimization step a batch, without a profiler or a gradient scaler, and with batches that are made
    on the device. In any other training it is Lightning's loop.
    """

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self._lean = not isinstance(data_fetcher, _DataLoaderIterDataFetcher) and _is_plain(trainer)
        self._starts = list_hooks(trainer.callbacks, "on_train_batch_start")
        self._ends = list_hooks(trainer.callbacks, "on_train_batch_end")
        self._arguments = len(self._build_kwargs(OrderedDict(), None, 0))  # of training_step
        self._clip = _find_clipping(trainer)
        schedules = trainer.lr_scheduler_configs
        self._schedules = [each for each in schedules if each.interval == "step" and not each.reduce_on_plateau]

    def advance(self, data_fetcher: Any) -> None:
        if not self._lean or self.restarting:
            super().advance(data_fetcher)
            return
        trainer, progress = self.trainer, self.batch_progress
        self.val_loop.restarting = False
        batch = next(data_fetcher)[0]
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        progress.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        self._call("on_train_batch_start", self._starts, batch, batch_idx)
        progress.increment_started()
        outputs = self._optimize(trainer.lightning_module, trainer.optimizers[0], batch, batch_idx)
        progress.increment_processed()
        self._step_schedulers()
        self._call("on_train_batch_end", self._ends, outputs, batch, batch_idx)
        trainer._logger_connector.on_batch_end()
        progress.increment_completed()
        trainer._logger_connector.update_train_step_metrics()

    def _step_schedulers(self) -> None:
        """Step the schedules, which Lightning does by a hook for each."""
        for config in self._schedules:
            if (self.batch_idx + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                config.scheduler.step()
                self.scheduler_progress.increment_completed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _call(self, name: str, hooks: Iterable[Callable[..., None]], *args: Any) -> None:
        module = self.trainer.lightning_module
        module._current_fx_name = name  # what `log` reads
        for hook in hooks:
            hook(self.trainer, module, *args)
        module._current_fx_name = None

    def _optimize(self, module: LightningModule, optimizer: Optimizer, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Take an optimization step, and return what Lightning passes to ``on_train_batch_end``."""
        strategy, loop = self.trainer.strategy, self.automatic_optimization
        steps, zeros = loop.optim_progress.optimizer.step, loop.optim_progress.optimizer.zero_grad
        arguments = (batch, batch_idx)[: self._arguments]
        outputs: dict[str, Any] = {}

        @torch.enable_grad()
        def compute_loss() -> Tensor | None:  # some optimizers call it more than once a step
            nonlocal outputs
            module._current_fx_name = "training_step"
            result = loop.output_result_cls.from_training_step_output(strategy.training_step(*arguments))
            module._current_fx_name = None
            zeros.increment_ready()
            zeros.increment_started()
            optimizer.zero_grad()
            zeros.increment_completed()
            if result.closure_loss is not None:
                result.closure_loss.backward()  # type: ignore[no-untyped-call]
            self._clip(optimizer)
            outputs = {} if result.loss is None else result.asdict()
            return result.loss

        steps.increment_ready()
        optimizer.step(compute_loss)  # type: ignore[arg-type]  # as Lightning does, also without a loss
        steps.increment_completed()
        return outputs


def _find_clipping(trainer: Trainer) -> Callable[[Optimizer], None]:
    """Return what clips the gradients of an optimizer."""
    value, precision = trainer.gradient_clip_val or 0.0, trainer.precision_plugin
    algorithm = GradClipAlgorithmType(trainer.gradient_clip_algorithm or "norm")
    if type(precision) is not Precision:  # those of a mixed precision refuse some optimizers
        return partial(precision.clip_gradients, clip_val=value, gradient_clip_algorithm=algorithm)
    if value <= 0:
        return lambda optimizer: None
    clip = precision.clip_grad_by_norm if algorithm == GradClipAlgorithmType.NORM else precision.clip_grad_by_value
    return partial(clip, clip_val=value)


def list_hooks(
    owners: Iterable[Callback | LightningModule], name: str, base: type[Callback | LightningModule] = Callback
) -> list[Callable[..., None]]:
    """Return the hooks ``name`` of those ``owners`` that define it, by their class or as attributes of their own.

    Args:
        owners: Callbacks or modules.
        name: The hook's name.
        base: The class whose hook does nothing of its own.
    """
    hooks = [getattr(owner, name) for owner in owners]
    return [hook for hook in hooks if getattr(hook, "__func__", hook) is not getattr(base, name)]


def _is_plain(trainer: Trainer) -> bool:
    """Whether nothing in a training needs more than ``LeanEpochLoop`` does."""
    module, precision = trainer.lightning_module, trainer.precision_plugin
    return (
        type(trainer.strategy) is SingleDeviceStrategy
        and trainer.strategy.model is module
        and type(precision) in (Precision, MixedPrecision)
        and getattr(precision, "scaler", None) is None
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and module.automatic_optimization
        and trainer.accumulate_grad_batches == 1
        and len(trainer.optimizers) == 1
        and isinstance(trainer.train_dataloader, TrainBatches)
        and not any(list_hooks(trainer.callbacks, name) for name in _STEP_HOOKS)  # type: ignore[attr-defined]
        and not any(list_hooks([module], name, LightningModule) for name in _MODULE_HOOKS)
    )
