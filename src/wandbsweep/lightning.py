"""``SweepCallback``: reports a Lightning training to the current trial, and ends it when the sweep says so.

The one place that knows both Lightning and a trial.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from wandbsweep.agent.signals import reinstall
from wandbsweep.current import Preempted, current_trial
from wandbsweep.trial import CONTINUE, Decision

_CONTINUE = (CONTINUE, False)
_LOOK_S = 2.0


# An EarlyStopping only because Lightning calls those (and checkpoints) after the module's own
# on_train_epoch_end: any other callback misses what is logged there.
class SweepCallback(EarlyStopping):
    """Report every metric logged since the last report, and stop the training when the sweep decides so.

    By default once an epoch, step = the epoch. With ``every_n_steps``, step = the optimisation step: every n
    steps what is logged on step, and what is logged per validation or per epoch as soon as it is known.
    Hyperband counts the reports that hold the sweep's metric. Outside a sweep it does nothing.

    Where the process is asked to end (preempted, near its time limit, cancelled, Ctrl-C) it saves ``checkpoint``, by
    default ``last.ckpt`` where the trainer's own checkpoints go, as soon as an optimisation step ends that can be
    resumed from, and raises ``Preempted`` out of the training.
    """

    def __init__(self, every_n_steps: int | None = None, *, checkpoint: Path | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"The value of `every_n_steps` is {every_n_steps}, but must be >= 1, or None")
        super().__init__(monitor="")
        self.every_n_steps = every_n_steps
        self.checkpoint = checkpoint
        self._forget()

    def _forget(self) -> None:
        self._active = False
        self._checked = self._saved = False
        self._next_look = 0.0
        self._seen: dict[str, Tensor] = {}
        self._by_step: set[str] = set()
        self._last_step = self._stepped = 0

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
        self._last_step = self._stepped = trainer.global_step  # known only now where a checkpoint was loaded
        if self._active:
            # Lightning has put its handler of TERM over ours; with several ranks it communicates, and hangs.
            reinstall()
            current_trial().listening = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        current_trial().listening = False
        current_trial().unheed()  # told with the last report, or later: there was nothing left to end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        current_trial().listening = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved:  # at the end of the epoch before: Lightning cannot resume from here
            raise Preempted(current_trial().decision.reason)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any) -> None:
        # The global step stands still while gradients accumulate.
        step = trainer.global_step
        stepped, self._stepped = step != self._stepped, step
        if self._active and self.every_n_steps and step != self._last_step and step % self.every_n_steps == 0:
            self._last_step = step
            self._by_step |= self._report(trainer, step)
        if self._active:
            self._look(trainer)
        # After an epoch's last batch the validation and the epoch's report are still to come.
        resumable = stepped and not trainer.is_last_batch and not _validates_after(trainer, batch[-1])
        if self._active and resumable and self._save_if_asked(trainer):
            raise Preempted(current_trial().decision.reason)

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
        if not _is_done(trainer):
            self._saved = self._save_if_asked(trainer)

    def _report(self, trainer: Trainer, step: int, *, but_not: Collection[str] = ()) -> set[str]:
        """Report what is new; return its names."""
        metrics = {name: float(value) for name, value in self._fresh(trainer).items() if name not in but_not}
        answer = _CONTINUE
        if metrics and trainer.is_global_zero:
            answer = _answer(current_trial().report(step, metrics))
        self._obey(*trainer.strategy.broadcast(answer), trainer)
        return set(metrics)

    def _look(self, trainer: Trainer) -> None:
        """Obey, in the midst of a long epoch, what was decided since the last report."""
        # Ranks would have to agree on when to look.
        if trainer.world_size > 1 or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_S
        self._obey(*_answer(current_trial().look()), trainer)

    def _fresh(self, trainer: Trainer) -> dict[str, Tensor]:
        """The metrics logged since the last call: Lightning keeps the others' tensors as they were.

        To be called on every rank: reading the metrics reduces them over the ranks.
        """
        now = dict(trainer.callback_metrics)
        fresh = {name: value for name, value in now.items() if value is not self._seen.get(name)}
        self._seen = now
        return fresh

    def _obey(self, decision: Decision, lost: bool, trainer: Trainer) -> None:
        if lost:  # at once: a checkpoint written now would be in the way of the agent that has the trial
            raise Preempted(decision.reason)
        if not decision.stop:
            return
        if trial := current_trial():
            trial.decision = decision  # on the ranks that have not asked
        trainer.should_stop = True
        # Lightning goes on in spite of should_stop until these are reached; a stopped trial must end.
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None

    def _save_if_asked(self, trainer: Trainer) -> bool:
        asked = current_trial().preempted
        if trainer.world_size > 1:  # all ranks save together
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked and (path := self.checkpoint or _last_checkpoint(trainer)):
            trainer.save_checkpoint(path, weights_only=False)
        return asked

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


def _last_checkpoint(trainer: Trainer) -> Path | None:
    directory = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(directory, "last.ckpt") if directory else None


def _answer(decision: Decision) -> tuple[Decision, bool]:
    """What is to be obeyed of ``decision``, and whether the trial is lost to another agent."""
    trial = current_trial()
    if trial.told or not decision.stop:  # who was told ends where it can be resumed from
        return _CONTINUE
    return decision, not trial.owned()


def _is_done(trainer: Trainer) -> bool:
    """At the end of an epoch: whether it is the last."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    last = epochs not in (None, -1) and trainer.current_epoch + 1 >= epochs
    return trainer.should_stop or last or (steps != -1 and trainer.global_step >= steps)


def _validates_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation comes next: a training that resumes from before it would never make up for it."""
    every = trainer.val_check_batch
    if not every or every == float("inf"):
        return False
    batches = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return (batches + 1) % int(every) == 0
