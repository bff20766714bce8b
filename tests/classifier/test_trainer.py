"""What the configuration gives to Lightning's Trainer: callbacks, checkpoints to start from, limits."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, RichProgressBar

from classifier.callbacks import make_callbacks
from classifier.metrics import EvaluationMetrics
from classifier.trainer import make_trainer
from classifier.training import train
from wandbsweep.current import CurrentTrial, running
from wandbsweep.lightning import BestCheckpoint, SweepCallback
from wandbsweep.trial import CONTINUE

SMALL = ["model.hidden=[8]", "data.batch_size=256"]  # 5 steps an epoch


class Noting(Callback):
    """A user's own callback."""

    def __init__(self, note):
        self.note = note
        self.epochs = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(trainer.current_epoch)


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
def test_callbacks_by_name_and_by_target_in_the_right_order(make_config):
    chosen = "callbacks=[early_stopping,lr_monitor,progress_bar]"
    own = f"+callbacks.mine={{_target_: {__name__}.Noting, note: hello}}"
    cfg = make_config(chosen, "callbacks.early_stopping.patience=7", own)
    stopping, monitor, bar, mine = make_callbacks(cfg, logs=True)
    assert (type(stopping), stopping.patience) == (EarlyStopping, 7)
    assert (type(monitor), type(bar)) == (LearningRateMonitor, RichProgressBar)
    assert mine.note == "hello"
    order = [type(callback) for callback in make_trainer(cfg).callbacks]
    assert LearningRateMonitor not in order  # there is no logger
    assert order.index(EarlyStopping) < order.index(SweepCallback) < order.index(BestCheckpoint)
    with running(CurrentTrial(number=0)):
        assert not any(isinstance(callback, RichProgressBar) for callback in make_trainer(cfg).callbacks)


def test_early_stopping_ends_the_training(make_config, caplog):
    caplog.set_level("INFO")
    reports = []
    options = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2", "optimizer.lr=0.0"]
    trial = CurrentTrial(number=0, metric="val/loss", send=lambda step, _: reports.append(step) or CONTINUE)
    with running(trial):
        train(make_config(*SMALL, *options, "trainer.max_epochs=10"))
    assert reports == [0, 1, 2]
    assert not trial.decision.stop


def test_the_costs_of_a_training_are_reported(make_config):
    reports = []
    trial = CurrentTrial(number=0, metric="val/loss", send=lambda _, found: reports.append(found) or CONTINUE)
    with running(trial):
        train(make_config(*SMALL, "trainer.max_epochs=2"))
    for found in reports:
        assert found["model/parameters"] == 64 * 8 + 8 + 8 * 10 + 10
        seconds = found["train/seconds_per_epoch"]
        assert found["train/images_per_second"] > 1197 / seconds  # the validation is not counted
        assert 50 < found["memory/host_peak_mib"] < 100_000


def test_the_peak_of_memory_is_this_trainings(make_config):
    """Trials may share a process."""
    large = bytearray(400 << 20)
    large[::4096] = b"x" * len(large[::4096])
    del large
    peaks = []
    trial = CurrentTrial(number=0, send=lambda _, found: peaks.append(found["memory/host_peak_mib"]) or CONTINUE)
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with running(trial):
        train(make_config(*SMALL))
    assert peaks[0] < before


@pytest.mark.parametrize("trial", [None, CurrentTrial(number=0, metric="val/loss")])
def test_fast_dev_run_leaves_nothing(make_config, tmp_path, trial):
    cfg = make_config(
        "++trainer.fast_dev_run=true", "logger=csv", "callbacks=[lr_monitor,early_stopping]", "test=false"
    )
    if trial:
        with running(trial):
            assert train(cfg) > 0
    else:
        assert 0 <= train(cfg) <= 1
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_limits(make_config):
    cfg = make_config("++trainer.limit_train_batches=2", "++trainer.limit_val_batches=1", "trainer.max_epochs=2")
    train(cfg)
    saved = torch.load(f"{cfg.output_dir}/checkpoints/last.ckpt", weights_only=False)
    assert saved["global_step"] == 4


def test_a_checkpoint_of_the_user_is_continued(make_config, tmp_path, caplog):
    caplog.set_level("INFO")
    options = [*SMALL, "metric=val/loss"]
    whole = train(make_config(*options, "trainer.max_epochs=3", output="whole"))
    train(make_config(*options, "trainer.max_epochs=1", output="first"))
    given = tmp_path / "first/checkpoints/last.ckpt"
    continued = make_config(*options, f"ckpt_path={given}", "trainer.max_epochs=3", output="continued")
    assert train(continued) == whole
    anew = make_config(*options, f"model.weights={given}", "optimizer.lr=0.0", output="anew")
    one_epoch = torch.load(given, weights_only=False)["state_dict"]
    train(anew)
    saved = torch.load(tmp_path / "anew/checkpoints/last.ckpt", weights_only=False)
    assert (saved["epoch"], saved["global_step"]) == (0, 5)
    assert all(torch.equal(saved["state_dict"][name], value) for name, value in one_epoch.items())
    assert {record.name for record in caplog.records} == {"classifier.training", "classifier.models.pretrained"}


def test_a_resumed_trial_prefers_its_own_checkpoint(make_config, tmp_path):
    options = [*SMALL, "metric=val/loss"]
    train(make_config(*options, "trainer.max_epochs=2", "seed=3", output="other"))
    given = [*options, f"ckpt_path={tmp_path}/other/checkpoints/last.ckpt", "trainer.max_epochs=3"]
    whole = train(make_config(*options, "trainer.max_epochs=3", output="whole"))
    train(make_config(*options, "trainer.max_epochs=1"))
    with running(CurrentTrial(number=0, resumed=True, metric="val/loss")):
        assert train(make_config(*given)) == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ckpt_path=/nowhere.ckpt"], "The value of `ckpt_path` is '/nowhere.ckpt', but there is no such file"),
        (["model.weights={}/a.ckpt"], "whose weights are of another network"),
        (["model.weights={}/b.ckpt"], "There are no weights in"),
    ],
)
def test_a_wrong_checkpoint_is_refused(make_config, tmp_path, options, message):
    torch.save({"state_dict": {"network.1.weight": torch.zeros(3)}}, tmp_path / "a.ckpt")
    torch.save({"weights": 1}, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match=message):
        train(make_config(*(option.format(tmp_path) for option in options)))


def test_the_configuration_is_printed_but_not_by_a_trial(make_config, capsys):
    cfg = make_config("print_config=true", "++trainer.fast_dev_run=true")
    train(cfg)
    printed = capsys.readouterr().out
    for part in ("data", "batch_size: 64", "_target_: lightning.pytorch.Trainer", "seed: 0", "goal: null"):
        assert part in printed
    with running(CurrentTrial(number=0)):
        train(cfg)
    assert capsys.readouterr().out == ""


def test_metrics_equal_torchmetrics_own_classes():
    from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

    generator = torch.Generator().manual_seed(0)
    logits, classes = torch.randn(1000, 7, generator=generator), torch.randint(0, 6, (1000,), generator=generator)
    logits[:, 6] = -100  # neither occurs nor is predicted
    logits[range(500), classes[:500]] += 2
    ours = EvaluationMetrics()
    for part in range(0, 1000, 300):
        ours.update(logits[part : part + 300], classes[part : part + 300])
    found = ours.compute()
    theirs = {
        "accuracy": MulticlassAccuracy(7, average="micro"),
        "f1": MulticlassF1Score(7, average="macro"),
        "calibration_error": MulticlassCalibrationError(7, n_bins=15),
    }
    for name, metric in theirs.items():
        assert found[name] == pytest.approx(metric(logits, classes)), name
    assert found["accuracy"] == (logits.argmax(1) == classes).float().mean()
    ours.update(logits[:10], classes[:10])  # nothing is left of the batches before
    assert ours.compute()["accuracy"] == (logits[:10].argmax(1) == classes[:10]).float().mean()


def test_a_training_needs_no_validation(make_config):
    assert train(make_config("++trainer.limit_val_batches=0", "metric=train/loss", *SMALL)) > 0
