"""``SweepCallback``: reports a Lightning training to the current trial, and ends it when the sweep decides so."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from wandbsweep.current import DIRECTORY, Preempted, current_trial
from wandbsweep.lightning.checkpoints import trust_checkpoint
from wandbsweep.lightning.divergence import LossCheck
from wandbsweep.lightning.package import EarlyStopping, LightningModule, Trainer, TrainerFn
from wandbsweep.trial import CONTINUE, Decision

_CONTINUE = (CONTINUE, False)
_POLL_S = 2.0


# It is an EarlyStopping only because Lightning calls these (and checkpoint callbacks) after the module's own
# on_train_epoch_end. Any other callback misses what is logged there.
class SweepCallback(EarlyStopping):
    """Report every metric logged since the last report, and stop the training when the sweep decides so.

    By default it reports once an epoch, and the step is the epoch. With ``every_n_steps`` the step is the optimisation
    step: it reports metrics that are logged on step every n steps, and metrics of a validation or an epoch as soon as
    they are known. Hyperband counts the reports that hold the sweep's metric. Outside a sweep it
    does nothing, except in the runs of ``wandbsweep evaluate``.

    If the process is asked to end (preempted, near its time limit, cancelled, Ctrl-C), the callback saves a checkpoint
    after the next optimisation step from which Lightning can resume, and raises ``Preempted`` out of the training.

    If the training's loss is NaN or infinite, the training ends with DivergedError, and the trial has failed. On a CPU
    the loss is checked after every batch. On a GPU, or with several ranks, the checks are some batches apart, since
    each waits for the GPU. With a gradient scaler (``16-mixed``), which skips steps that overflow, ten losses in a row
    count. A module that optimizes manually must return its loss from ``training_step``, or call
    ``current_trial().check_loss``.

    Args:
        every_n_steps: How many optimisation steps lie between two reports; None: report once an epoch.
        checkpoint: Where to save the checkpoint; None: ``last.ckpt`` in the directory of the trainer's checkpoints.
        check_loss: Whether a loss that is NaN or infinite ends the training.

    Raises:
        ValueError: ``every_n_steps`` is no whole number of at least 1.
    """

    def __init__(
        self, every_n_steps: int | None = None, *, checkpoint: Path | None = None, check_loss: bool = True
    ) -> None:
        if every_n_steps is not None and not (isinstance(every_n_steps, int) and every_n_steps >= 1):
            raise ValueError(
                f"The value of `every_n_steps` is {every_n_steps!r}, but must be a whole number >= 1, or None; the "
                "metric is named by the sweep"
            )
        super().__init__(monitor="")
        self.every_n_steps = every_n_steps
        self.checkpoint = checkpoint
        self.check_loss = check_loss
        self._reset()

    def _reset(self) -> None:
        self._active = False
        self._checked = self._saved = False
        self._next_poll = 0.0
        self._seen: dict[str, Tensor] = {}
        self._by_step: set[str] = set()
        self._last_step = self._stepped = 0
        self._losses = LossCheck()

    @property
    def state_key(self) -> str:
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and (checkpoint := current_trial().find_checkpoint()):
            trust_checkpoint(checkpoint)  # before Lightning loads it

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reset()
        # Rank 0 decides for all ranks: it may be the only one that knows the trial, and what follows is collective.
        self._active = trainer.strategy.broadcast(current_trial().records)
        self._seen = dict(trainer.callback_metrics)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = self._stepped = trainer.global_step  # by now a checkpoint, if any, is loaded
        if self._active:
            _warn_of_unread_checkpoint(trainer)
            # Lightning has replaced our handler of TERM by its own, which communicates if there are several ranks, and
            # hangs.
            current_trial().reinstall_handlers()
            current_trial().listening = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        current_trial().listening = False
        current_trial().clear()  # if interrupted with the last report or later, the training was done anyway
        current_trial().note_step(self._find_step(trainer) - 1)  # a checkpoint may have brought it there

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        current_trial().listening = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved:  # at the end of the previous epoch, since Lightning cannot resume from here
            raise Preempted(current_trial().decision.reason)
        self._take_new_metrics(trainer)  # Lightning makes new tensors of the same values when the last epoch has ended

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any) -> None:
        # The global step does not change while gradients accumulate.
        step = trainer.global_step
        if self._active and self.check_loss:
            self._losses.add(trainer, outputs, step=self._stepped)
        stepped, self._stepped = step != self._stepped, step
        if self._active and self.every_n_steps and step != self._last_step and step % self.every_n_steps == 0:
            self._last_step = step
            self._by_step |= self._report(trainer, step)
        if self._active:
            self._poll(trainer)
        # After an epoch's last batch the validation and the epoch's report are still to come.
        resumable = stepped and not trainer.is_last_batch and not _validates_after(trainer, batch[-1])
        if self._active and resumable and self._save_if_requested(trainer):
            raise Preempted(current_trial().decision.reason)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._begin_evaluation(trainer)
        elif self._active and self.every_n_steps and not trainer.sanity_checking:
            self._take_new_metrics(trainer)  # so that on_validation_end reports what the validation logs alone

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            # Before a training it measures what the training starts from, which is no result of the trial's parameters.
            self._end_evaluation(trainer, counts=current_trial().last_step >= 0)
        elif self._active and self.every_n_steps and not trainer.sanity_checking:
            self._report(trainer, trainer.global_step)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation(trainer, counts=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._active:
            return
        if self.check_loss:
            self._losses.check(trainer)
        self._report(trainer, self._find_step(trainer), but_not=self._by_step)
        self._warn_of_missing_metric(trainer)
        if not _is_done(trainer):
            self._saved = self._save_if_requested(trainer)

    def _find_step(self, trainer: Trainer) -> int:
        return trainer.global_step if self.every_n_steps else trainer.current_epoch

    def _begin_evaluation(self, trainer: Trainer) -> None:
        self._take_new_metrics(trainer)  # so that _end_evaluation reports what the evaluation logs alone

    def _end_evaluation(self, trainer: Trainer, *, counts: bool) -> None:
        """Report what ``trainer.test`` or ``trainer.validate`` logged, unless it does not count, in one more step."""
        if trainer.strategy.broadcast(current_trial().records and counts):
            self._report(trainer, max(self._find_step(trainer), current_trial().last_step + 1))
            current_trial().clear()  # as after a training: an interrupted evaluation has nothing left to end

    def _report(self, trainer: Trainer, step: int, *, but_not: Collection[str] = ()) -> set[str]:
        """Report the metrics that are new, but for the names in ``but_not``; return their names."""
        metrics = {name: float(value) for name, value in self._take_new_metrics(trainer).items() if name not in but_not}
        answer = _CONTINUE
        if metrics and trainer.is_global_zero:
            answer = _read_answer(current_trial().report(step, metrics))
        self._obey(*trainer.strategy.broadcast(answer), trainer)
        return set(metrics)

    def _poll(self, trainer: Trainer) -> None:
        """Obey, during a long epoch, what was decided since the last report."""
        # With several ranks, all would have to poll after the same step.
        if trainer.world_size > 1 or time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + _POLL_S
        self._obey(*_read_answer(current_trial().poll()), trainer)

    def _take_new_metrics(self, trainer: Trainer) -> dict[str, Tensor]:
        """Return the metrics logged since the last call: Lightning keeps the tensors of the others as they were.

        Must be called on every rank: reading the metrics reduces them over the ranks.
        """
        now = dict(trainer.callback_metrics)
        new = {name: value for name, value in now.items() if value is not self._seen.get(name)}
        self._seen = now
        return new

    def _obey(self, decision: Decision, lost: bool, trainer: Trainer) -> None:
        if lost:  # end at once: a checkpoint written now would overwrite that of the agent that has the trial
            raise Preempted(decision.reason)
        if not decision.stop:
            return
        if (trial := current_trial()).records:
            trial.decision = decision  # on the ranks that have not reported
        trainer.should_stop = True
        # Lightning ignores should_stop until these are reached, but a stopped trial must end.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None

    def _save_if_requested(self, trainer: Trainer) -> bool:
        """Save a checkpoint if the process is to end; return whether it is."""
        requested = current_trial().preempted
        if trainer.world_size > 1:  # saving is collective: one rank's signal counts for all
            requested = trainer.strategy.reduce_boolean_decision(requested, all=False)
        if requested and (path := self.checkpoint or _find_last_checkpoint(trainer)):
            trainer.save_checkpoint(path, weights_only=False)
            _warn_of_lost_checkpoint(path)
        return requested

    def _warn_of_missing_metric(self, trainer: Trainer) -> None:
        """Warn once, after the first epoch that validated, if the sweep's metric was not logged."""
        if self._checked or trainer.current_epoch + 1 < (trainer.check_val_every_n_epoch or 1):
            return
        self._checked = True
        metric = current_trial().metric
        if trainer.is_global_zero and metric is not None and metric not in self._seen:
            warnings.warn(
                f"The sweep's metric {metric!r} was not logged in the first epoch; unless it is logged later, the "
                f"trial has no value. Logged were: {', '.join(sorted(self._seen)) or 'none'}",
                stacklevel=2,
            )


def _warn_of_unread_checkpoint(trainer: Trainer) -> None:
    """Warn if a resumed trial begins from the start although there is a checkpoint."""
    trial = current_trial()
    if trainer.global_step or trial.checkpoint_read or not trainer.is_global_zero:
        return
    if checkpoint := trial.find_checkpoint():
        warnings.warn(
            f"Trial {trial.number} is resumed and has the checkpoint {checkpoint}, but its training begins "
            "anew: pass ckpt_path=current_trial().checkpoint to trainer.fit, or, if the configuration has a key for "
            "the path, set hydra.sweeper.resume_key to that key",
            stacklevel=2,
        )


def _warn_of_lost_checkpoint(path: Path) -> None:
    """Warn if a checkpoint was saved where a later attempt of the trial does not look for it."""
    trial = current_trial()
    if DIRECTORY in os.environ and not path.resolve().is_relative_to(trial.directory.resolve()):
        warnings.warn(
            f"The checkpoint of trial {trial.number} was saved to {path}. A later attempt only looks in the trial's "
            f"directory {trial.directory}: use Trainer(default_root_dir=current_trial().directory)",
            stacklevel=2,
        )


def _find_last_checkpoint(trainer: Trainer) -> Path | None:
    directory = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(directory, "last.ckpt") if directory else None


def _read_answer(decision: Decision) -> tuple[Decision, bool]:
    """Return the decision to obey, and whether another agent has the trial."""
    trial = current_trial()
    if trial.interrupt_requested or not decision.stop:  # an interrupted training ends after a step to resume from
        return _CONTINUE
    return decision, not trial.is_owner()


def _is_done(trainer: Trainer) -> bool:
    """Whether the epoch that ends now is the last."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    last = epochs not in (None, -1) and trainer.current_epoch + 1 >= epochs
    return trainer.should_stop or last or (steps != -1 and trainer.global_step >= steps)


def _validates_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation comes next: a training resumed from a checkpoint before it would skip it."""
    every = trainer.val_check_batch
    if not every or every == float("inf"):
        return False
    batches = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return (batches + 1) % int(every) == 0
