"""``SweepCallback``: reports a Lightning training to the current trial, and ends it when the sweep says so.

The one place that knows both Lightning and a trial.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from wandbsweep.current import current_trial
from wandbsweep.trial import CONTINUE, Decision


# An EarlyStopping only because Lightning calls those (and checkpoints) after the module's own
# on_train_epoch_end: any other callback misses what is logged there.
class SweepCallback(EarlyStopping):
    """Report every metric logged since the last report, and stop the training when the sweep decides so.

    By default once an epoch, step = the epoch. With ``every_n_steps``, step = the optimisation step: every n
    steps what is logged on step, and what is logged per validation or per epoch as soon as it is known.
    Hyperband counts the reports that hold the sweep's metric. Outside a sweep it does nothing.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"The value of `every_n_steps` is {every_n_steps}, but must be >= 1, or None")
        super().__init__(monitor="")
        self.every_n_steps = every_n_steps
        self._forget()

    def _forget(self) -> None:
        self._active = False
        self._checked = False
        self._seen: dict[str, Tensor] = {}
        self._by_step: set[str] = set()
        self._last_step = 0

    @property
    def state_key(self) -> str:
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()
        # Rank 0 decides for all: the trial may be known to it alone, and what follows is collective.
        self._active = trainer.strategy.broadcast(bool(current_trial()))
        self._seen = dict(trainer.callback_metrics)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step  # known only now where a checkpoint was loaded

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # The global step stands still while gradients accumulate.
        step = trainer.global_step
        if self._active and self.every_n_steps and step != self._last_step and step % self.every_n_steps == 0:
            self._last_step = step
            self._by_step |= self._report(trainer, step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._active and self.every_n_steps and not trainer.sanity_checking:
            self._fresh(trainer)  # leaves to on_validation_end what the validation logs

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._active and self.every_n_steps and not trainer.sanity_checking:
            self._report(trainer, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._active:
            return
        step = trainer.global_step if self.every_n_steps else trainer.current_epoch
        self._report(trainer, step, but_not=self._by_step)
        self._warn_of_missing_metric(trainer)

    def _report(self, trainer: Trainer, step: int, *, but_not: Collection[str] = ()) -> set[str]:
        """Report what is new; return its names."""
        metrics = {name: float(value) for name, value in self._fresh(trainer).items() if name not in but_not}
        decision = CONTINUE
        if metrics and trainer.is_global_zero:
            decision = current_trial().report(step, metrics)
        self._obey(trainer.strategy.broadcast(decision), trainer)
        return set(metrics)

    def _fresh(self, trainer: Trainer) -> dict[str, Tensor]:
        """The metrics logged since the last call: Lightning keeps the others' tensors as they were.

        To be called on every rank: reading the metrics reduces them over the ranks.
        """
        now = dict(trainer.callback_metrics)
        fresh = {name: value for name, value in now.items() if value is not self._seen.get(name)}
        self._seen = now
        return fresh

    def _obey(self, decision: Decision, trainer: Trainer) -> None:
        if not decision.stop:
            return
        if trial := current_trial():
            trial.decision = decision  # on the ranks that have not asked
        trainer.should_stop = True
        # Lightning goes on in spite of should_stop until these are reached; a stopped trial must end.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None

    def _warn_of_missing_metric(self, trainer: Trainer) -> None:
        """Once, after the first epoch that validated."""
        if self._checked or trainer.current_epoch + 1 < (trainer.check_val_every_n_epoch or 1):
            return
        self._checked = True
        metric = current_trial().metric
        if trainer.is_global_zero and metric is not None and metric not in self._seen:
            warnings.warn(
                f"The sweep's metric {metric!r} was not logged in the first epoch; the trial has no value. "
                f"Logged were: {', '.join(sorted(self._seen)) or 'none'}",
                stacklevel=2,
            )
