"""The lean loop does what Lightning's loop does, and leaves to it whatever it does not do itself."""

from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback

from classifier import trainer as trainers
from classifier.epoch_loop import LeanEpochLoop
from classifier.module import ImageClassifier
from classifier.training import train

SMALL = ["model.hidden=[8]", "data.batch_size=256", "trainer.max_epochs=2", "trainer.log_every_n_steps=2"]


class Noting(Callback):
    """Notes what a user's callback can see of every step."""

    notes: ClassVar[list] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.note("start", trainer, pl_module, batch_idx, len(batch[1]))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.log("train/step_loss", outputs["loss"], on_step=True, on_epoch=True)
        self.note("end", trainer, pl_module, batch_idx, float(outputs["loss"]))

    def on_train_epoch_end(self, trainer, pl_module):
        self.note("epoch", trainer, pl_module, sorted(trainer.callback_metrics), sorted(trainer.logged_metrics))

    def note(self, name, trainer, pl_module, *more):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        place = (trainer.current_epoch, trainer.global_step, trainer.is_last_batch, pl_module._current_fx_name)
        self.notes.append((name, *place, rate, *more))


class Hooked(Noting):
    """Defines what the lean loop does not call."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.note("step", trainer, pl_module)


class Counting(ImageClassifier):
    def optimizer_step(self, *args, **kwargs):
        Noting.notes.append("optimizer_step")
        super().optimizer_step(*args, **kwargs)


class Attaching(Noting):
    """Gives the module a hook of its own."""

    def setup(self, trainer, pl_module, stage):
        pl_module.on_train_batch_end = lambda outputs, batch, batch_idx: self.notes.append("attached")


def run(make_config, monkeypatch, *overrides, lean=True, callback="Noting"):
    """Return what the callback noted, the last checkpoint, and the loop."""
    made = []

    def use(trainer):
        made.append(trainer)
        if lean:
            use_lean_loop(trainer)

    use_lean_loop = trainers.use_lean_loop
    monkeypatch.setattr(Noting, "notes", [])
    with monkeypatch.context() as patch:
        patch.setattr(trainers, "use_lean_loop", use)
        cfg = make_config(*SMALL, f"+callbacks.mine={{_target_: {__name__}.{callback}}}", *overrides)
        train(cfg)
    saved = torch.load(f"{cfg.output_dir}/checkpoints/last.ckpt", weights_only=False)
    return Noting.notes, saved, made[0].fit_loop.epoch_loop


@pytest.mark.parametrize(
    "overrides",
    [
        ["scheduler=cosine", "trainer.gradient_clip_algorithm=value", "trainer.val_check_interval=2"],
        ["trainer.gradient_clip_val=null", "trainer.precision=bf16-mixed", "trainer.max_epochs=1"],
    ],
)
def test_a_training_is_that_of_lightnings_loop(make_config, monkeypatch, overrides):
    notes, saved, loop = run(make_config, monkeypatch, *overrides)
    assert loop._lean
    expected, theirs, other = run(make_config, monkeypatch, *overrides, lean=False)
    assert not isinstance(other, LeanEpochLoop)
    assert notes == expected
    assert notes
    assert saved["loops"] == theirs["loops"]
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert repr(saved[part]) == repr(theirs[part])


@pytest.mark.parametrize(
    ("overrides", "callback", "noted"),
    [
        ([], "Hooked", "step"),
        ([f"module._target_={__name__}.Counting"], "Noting", "optimizer_step"),
        (["trainer.accumulate_grad_batches=2"], "Noting", "start"),
        ([], "Attaching", "attached"),
    ],
)
def test_what_it_does_not_do_is_left_to_lightning(make_config, monkeypatch, overrides, callback, noted):
    notes, _, loop = run(make_config, monkeypatch, *overrides, "trainer.max_epochs=1", callback=callback)
    assert not loop._lean
    assert any(note == noted or note[0] == noted for note in notes)
