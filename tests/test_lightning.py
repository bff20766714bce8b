"""``SweepCallback`` in real trainings of a few batches."""

import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from wandbsweep.current import DIRECTORY, CurrentTrial, Preempted, current_trial, running
from wandbsweep.errors import DivergedError
from wandbsweep.lightning import SweepCallback
from wandbsweep.lightning.divergence import LossCheck
from wandbsweep.trial import CONTINUE, Decision

pytestmark = [
    # Lightning on torch 2.14, about itself; and what it thinks of loaders and intervals this small.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),  # where SLURM is installed
]
BATCHES = 4


class Tiny(LightningModule):
    """Logs one metric of every kind: per step, per epoch, per validation, and at the very end of an epoch."""

    def __init__(self, optimizer: Any = partial(torch.optim.SGD, lr=0.1)) -> None:  # noqa: B008
        super().__init__()
        self.save_hyperparameters(logger=False)  # which torch does not load unasked
        self.layer = torch.nn.Linear(1, 1)
        self.automatic_steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.automatic_steps += 1
        loss = self.layer(batch[0]).square().mean()
        self.log("step", float(self.automatic_steps), on_step=True, on_epoch=False)
        self.log("epoch", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", float(self.current_epoch))

    def on_train_epoch_end(self) -> None:
        self.log("end", float(self.current_epoch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.hparams.optimizer(self.parameters())


class Recorder:
    """Stands in for a sweep: remembers the reports and stops at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.stop_at = stop_at
        self.freezes = False

    def __call__(self, step: int, metrics: Any) -> Decision:
        self.reports.append((step, dict(metrics)))
        return Decision(True, "enough", self.freezes) if len(self.reports) - 1 == self.stop_at else CONTINUE

    def steps_with(self, name: str) -> list[int]:
        return [step for step, metrics in self.reports if name in metrics]


@pytest.fixture
def sweep() -> Iterator[Recorder]:
    recorder = Recorder()
    with running(CurrentTrial(number=0, metric="val", send=recorder)):
        yield recorder


def fit(every_n_steps: int | None = None, ckpt_path: Any = None, **options: Any) -> tuple[Trainer, Tiny]:
    defaults = {"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(**{**defaults, **quiet, **options}, callbacks=[SweepCallback(every_n_steps)])
    data = DataLoader(TensorDataset(torch.ones(BATCHES, 1)))
    module = Tiny()
    trainer.fit(module, data, data, ckpt_path=ckpt_path)
    return trainer, module


def test_reports_once_an_epoch_all_that_was_logged(sweep):
    fit()
    assert [step for step, _ in sweep.reports] == [0, 1, 2]
    assert all(set(metrics) == {"step", "epoch", "val", "end"} for _, metrics in sweep.reports)
    assert [metrics["val"] for _, metrics in sweep.reports] == [0, 1, 2]
    assert [metrics["end"] for _, metrics in sweep.reports] == [0, 1, 2]


def test_values_of_an_earlier_validation_are_not_reported_again(sweep):
    fit(max_epochs=6, check_val_every_n_epoch=2)
    assert sweep.steps_with("val") == [1, 3, 5]
    assert sweep.steps_with("epoch") == [0, 1, 2, 3, 4, 5]


def test_sanity_checking_reports_nothing(sweep):
    fit(num_sanity_val_steps=2, max_epochs=1)
    assert [step for step, _ in sweep.reports] == [0]


class Diverging(Tiny):
    """Its loss is not finite from the step ``at`` on, for ``lasts`` steps."""

    def __init__(self, at: int, value: float = math.nan, lasts: int = 10**6) -> None:
        super().__init__()
        self.bad, self.value = range(at, at + lasts), value

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * self.value if self.global_step in self.bad else loss


def fit_diverging(module: LightningModule, **options: Any) -> None:
    data = DataLoader(TensorDataset(torch.ones(BATCHES, 1)))
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    callback = SweepCallback(check_loss=options.pop("check_loss", True))
    trainer = Trainer(**settings, enable_model_summary=False, max_epochs=3, callbacks=[callback], **options)
    trainer.fit(module, data, data)


@pytest.mark.parametrize(
    ("at", "value", "options", "text"),
    [
        (5, math.nan, {}, "the loss is NaN at step 5 (epoch 1)"),
        (0, math.inf, {}, "the loss is infinite at step 0 (epoch 0)"),
        (1, math.nan, {"accumulate_grad_batches": 2}, "the loss is NaN at step 1 (epoch 0)"),
        (2, math.nan, {"precision": "bf16-mixed"}, "the loss is NaN at step 2 (epoch 0)"),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_training(sweep, at, value, options, text):
    module = Diverging(at, value)
    with pytest.raises(DivergedError) as caught:
        fit_diverging(module, **options)
    assert str(caught.value) == text
    assert len(sweep.reports) == at // BATCHES
    assert module.automatic_steps == at * options.get("accumulate_grad_batches", 1) + 1  # and no batch more


def test_a_loss_is_not_checked_outside_a_sweep_or_if_it_shall_not_be():
    fit_diverging(Diverging(5))
    with running(CurrentTrial(number=0, metric="val", send=Recorder())):
        fit_diverging(Diverging(5), check_loss=False)


class GpuTrainer:
    """Stands in for the trainer of a training on ``world_size`` GPUs, and counts the collective calls."""

    def __init__(self, *, world_size: int = 1, scaler: object = None, elsewhere: bool = False) -> None:
        self.world_size, self.global_step, self.current_epoch = world_size, 0, 0
        self.precision_plugin = SimpleNamespace(scaler=scaler)
        self.strategy = SimpleNamespace(reduce_boolean_decision=self.reduce)
        self.elsewhere, self.collective = elsewhere, 0

    def reduce(self, decision: bool, all: bool) -> bool:
        self.collective += 1
        return decision or self.elsewhere

    def train(self, losses: Sequence[float]) -> tuple[int, str]:
        """Return after how many batches the training ended, and why."""
        check = LossCheck()
        for count, loss in enumerate(losses, 1):
            # Where the trainer has several ranks or the tensor is on a device, a check comes every 50 batches.
            try:
                check.add(self, {"loss": torch.tensor(loss)}, step=count - 1)
                self.global_step = count
                if count == len(losses):
                    check.check(self)
            except DivergedError as error:
                return count, str(error)
        return len(losses), ""


def test_several_ranks_check_together_every_50_batches():
    losses = [1.0] * 120
    assert GpuTrainer(world_size=2).train(losses) == (120, "")
    losses[60] = math.nan
    assert (trainer := GpuTrainer(world_size=2)).train(losses) == (100, "the loss is NaN at step 60 (epoch 0)")
    assert trainer.collective == 2
    elsewhere = GpuTrainer(world_size=2, elsewhere=True)
    assert elsewhere.train([1.0] * 120) == (50, "the loss of another rank is NaN or infinite before step 49")


def test_steps_that_a_gradient_scaler_skips_are_not_the_end():
    scaler = torch.amp.GradScaler("cpu")
    overflows = [1.0, *[math.inf] * 9, 1.0, *[math.nan] * 9, 2.0]
    assert GpuTrainer(scaler=scaler).train(overflows) == (len(overflows), "")
    assert GpuTrainer(scaler=scaler).train([1.0, *[math.nan] * 20]) == (11, "the loss is NaN at step 1 (epoch 0)")


@pytest.mark.parametrize("held_back", [{}, {"min_epochs": 3}, {"min_steps": 12}])
def test_a_stop_ends_training_with_the_epoch(sweep, held_back):
    sweep.stop_at = 0
    trainer, _ = fit(max_epochs=5, **held_back)
    assert (trainer.global_step, len(sweep.reports)) == (BATCHES, 1)
    assert current_trial().decision.reason == "enough"


@pytest.mark.parametrize("held_back", [{}, {"min_epochs": 3}, {"min_steps": 12}])
def test_a_stop_in_mid_epoch_ends_training_with_the_step(sweep, held_back):
    sweep.stop_at = 0
    trainer, module = fit(every_n_steps=2, max_epochs=5, **held_back)
    assert (trainer.global_step, module.automatic_steps, len(sweep.reports)) == (2, 2, 1)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("every_n_steps", [None, 1])
def test_a_frozen_training_saves_and_continues_with_the_next_step(tmp_path, monkeypatch, every_n_steps):
    """It is not evaluated, and does not end as one that is stopped for good: it may go on for many epochs."""
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    options: dict[str, Any] = {"default_root_dir": tmp_path, "enable_checkpointing": True, "min_epochs": 3}
    first, second = Recorder(stop_at=1), Recorder()
    first.freezes = True
    with running(CurrentTrial(number=0, metric="val", send=first)), pytest.raises(Preempted):
        fit(every_n_steps, **options)
    with running(CurrentTrial(number=0, metric="val", send=second, resumed=True)) as trial:
        (_, module) = fit(every_n_steps, trial.checkpoint, **options)
    name = "val" if every_n_steps is None else "step"
    steps = first.steps_with(name) + second.steps_with(name)
    assert steps == (list(range(3)) if every_n_steps is None else list(range(1, 3 * BATCHES + 1)))
    assert module.automatic_steps == 3 * BATCHES - (2 if every_n_steps else 2 * BATCHES)


def test_a_training_that_was_done_when_it_was_frozen_has_finished(sweep):
    sweep.stop_at, sweep.freezes = 2, True
    fit(max_epochs=3)
    assert not current_trial().decision.stop
    assert not current_trial().interrupt_requested


def test_a_cancelled_trial_ends_without_waiting_for_a_report(sweep):
    current_trial().poll = lambda: Decision(True, "cancelled")
    trainer, _ = fit(max_epochs=5)
    assert trainer.global_step == 1


def test_a_lost_trial_writes_no_checkpoint(sweep, tmp_path):
    sweep.stop_at = 0
    current_trial().is_owner = lambda: False
    with pytest.raises(Preempted):
        fit(max_epochs=5, enable_checkpointing=True, default_root_dir=tmp_path)
    assert list(tmp_path.rglob("*.ckpt")) == []


def test_every_n_steps_reports_step_metrics_at_those_steps(sweep):
    fit(every_n_steps=3)
    assert sweep.steps_with("step") == [3, 6, 9, 12]
    assert [metrics["step"] for _, metrics in sweep.reports if "step" in metrics] == [3, 6, 9, 12]


def test_every_n_steps_reports_a_validation_once_when_it_ends(sweep):
    fit(every_n_steps=3, val_check_interval=2)
    assert sweep.steps_with("val") == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("every_n_steps", [1, 100])
def test_every_n_steps_reports_the_epochs_metrics_with_the_epoch(sweep, every_n_steps):
    fit(every_n_steps)
    assert sweep.steps_with("epoch") == sweep.steps_with("end") == [4, 8, 12]


def test_steps_are_optimisation_steps(sweep):
    fit(every_n_steps=1, accumulate_grad_batches=2)
    assert sweep.steps_with("step") == [1, 2, 3, 4, 5, 6]


def test_missing_metric_is_named_with_those_logged():
    with (
        running(CurrentTrial(number=0, metric="nope")),
        pytest.warns(UserWarning, match=r"'nope' was not logged.*end, epoch, step, val") as caught,
    ):
        fit()
    assert sum("was not logged" in str(warning.message) for warning in caught) == 1


def test_no_warning_before_the_first_validation(sweep):
    fit(check_val_every_n_epoch=2, max_epochs=2)


def test_inert_outside_a_sweep(monkeypatch):
    monkeypatch.setattr(CurrentTrial, "report", lambda *_: pytest.fail("reported outside a sweep"))
    trainer, _ = fit(max_epochs=2)
    assert trainer.current_epoch == 2


def test_every_n_steps_must_be_positive():
    for wrong in (0, "loss"):
        with pytest.raises(ValueError, match=f"`every_n_steps` is {wrong!r}, but must be a whole number >= 1"):
            SweepCallback(wrong)


class TinyWithTest(Tiny):
    """Also logs a metric of the test."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test", 0.5)


def make_trainer(every_n_steps: int | None = None) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(max_epochs=2, accelerator="cpu", logger=False, callbacks=[SweepCallback(every_n_steps)], **quiet)


@pytest.fixture
def data() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(BATCHES, 1)))


@pytest.mark.parametrize(("every_n_steps", "after"), [(None, 2), (3, 2 * BATCHES + 1)])
def test_reports_what_the_test_after_a_training_logs(sweep, data, every_n_steps, after):
    trainer, module = make_trainer(every_n_steps), TinyWithTest()
    trainer.fit(module, data, data)
    trainer.test(module, data, verbose=False)
    assert sweep.reports[-1] == (after, {"test": 0.5})
    trainer.validate(module, data, verbose=False)
    assert sweep.reports[-1][0] == after + 1
    assert set(sweep.reports[-1][1]) == {"val"}


def test_reports_the_evaluations_of_another_trainer(sweep, data):
    module = TinyWithTest()
    make_trainer().fit(module, data, data)
    before = len(sweep.reports)
    make_trainer().test(module, data, verbose=False)
    make_trainer().validate(module, data, verbose=False)
    assert [(step, set(metrics)) for step, metrics in sweep.reports[before:]] == [(2, {"test"}), (3, {"val"})]


def test_a_validation_before_the_training_is_no_result(sweep, data):
    trainer, module = make_trainer(), TinyWithTest()
    trainer.validate(module, data, verbose=False)
    assert sweep.reports == []
    trainer.fit(module, data, data)
    assert sweep.steps_with("val") == [0, 1]


def test_a_checkpoint_that_a_resumed_training_does_not_load_is_named(tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    options = {"max_epochs": 1, "enable_checkpointing": True, "default_root_dir": tmp_path}

    def attempt(resumed=True, load=False):
        with running(CurrentTrial(number=3, resumed=resumed)) as trial:
            fit(**options, ckpt_path=trial.checkpoint if load else None)
        said = [str(warning.message) for warning in recwarn if "begins anew" in str(warning.message)]
        recwarn.clear()
        return said

    assert attempt(resumed=False) == []
    (said,) = attempt()
    assert said.startswith(f"Trial 3 is resumed and has the checkpoint {tmp_path}/checkpoints/epoch=0-step=4.ckpt, but")
    assert "hydra.sweeper.resume_key" in said
    assert attempt(load=True) == []  # and it is loaded, with the application's objects


def test_the_recipe_without_lightning_goes_on_where_it_stopped(tmp_path, monkeypatch, sweep):
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    page = Path(__file__).parents[1] / "docs" / "reliability.md"
    recipe = re.search(r"```python\n(trial, first.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    model = torch.nn.Linear(1, 1)
    names = {"time": time, "torch": torch, "current_trial": current_trial, "model": model, "epochs": 5, "loss": 0.5}
    names["optimizer"] = torch.optim.Adam(model.parameters())
    sweep.stop_at = 2
    for resumed in (False, True):
        with running(CurrentTrial(number=0, resumed=resumed, send=sweep)):
            # Longer than a tick of the kernel's clock, so that the files have different ages.
            exec(recipe.group(1).replace("...", "time.sleep(0.01)"), dict(names))
    assert [step for step, _ in sweep.reports] == [0, 1, 2, 3, 4]


def test_a_checkpoint_that_no_attempt_would_find_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "trial"))
    trial = CurrentTrial(number=3, send=lambda *_: (trial.interrupt("TERM"), CONTINUE)[1])
    with running(trial), pytest.warns(match="default_root_dir=current_trial"), pytest.raises(Preempted):
        fit(enable_checkpointing=True, default_root_dir=tmp_path)


def test_an_interrupted_test_is_the_end_of_its_trial(sweep, data):
    trainer, module = make_trainer(), TinyWithTest()
    trainer.fit(module, data, data)
    current_trial().interrupt("TERM")
    trainer.test(module, data, verbose=False)
    assert sweep.reports[-1] == (2, {"test": 0.5})
    assert not current_trial().interrupt_requested


STANDALONE = """
import torch
import pytorch_lightning as pl
from wandbsweep.current import CurrentTrial, running
from wandbsweep.lightning import SweepCallback
from wandbsweep.trial import CONTINUE

class Tiny(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()
    def on_train_epoch_end(self):
        self.log("end", float(self.current_epoch))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def send(step, metrics):
    print(step, metrics)
    return CONTINUE

off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
with running(CurrentTrial(number=0, send=send)):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 1)))
    pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[SweepCallback()], **off).fit(Tiny(), loader)
"""


def test_it_is_of_the_package_that_trains() -> None:
    """Of `pytorch_lightning`, it also comes after the module's own `on_train_epoch_end`."""
    done = subprocess.run([sys.executable, "-c", STANDALONE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0 {'end': 0.0}", "1 {'end': 1.0}"]
