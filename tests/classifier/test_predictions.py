"""The confusion matrix and the misclassified images that loggers get at a training's end."""

import csv

import torch
import wandb
from PIL import Image

from classifier.instantiate import instantiate
from classifier.training import train
from wandbsweep.current import CurrentTrial, running
from wandbsweep.trial import CONTINUE

OPTIONS = ["model.hidden=[8]", "optimizer.lr=0.03", "trainer.max_epochs=4", "model.dropout=0.5", "misclassified=5"]


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_trial_shows_the_validation_split_of_its_best_epoch(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged = []
    log = wandb.Run.log
    monkeypatch.setattr(wandb.Run, "log", lambda run, data, **rest: logged.append(data) or log(run, data, **rest))
    reports = []
    trial = CurrentTrial(number=0, metric="val/accuracy", goal="maximize")
    trial.send = lambda _, found: reports.append(found["val/accuracy"]) or CONTINUE
    with running(trial):
        best = train(make_config(*OPTIONS, "logger=[wandb,csv,tensorboard]"))
    assert len(reports) == 4  # the predictions are no further step
    header, *rows = read(tmp_path / "out/val_confusion_matrix.csv")
    assert header[1:] == [row[0] for row in rows] == [str(digit) for digit in range(10)]
    counts = torch.tensor([[int(count) for count in row[1:]] for row in rows])
    assert counts.sum() == 300
    assert counts.trace() / 300 == best == max(reports)
    _, *wrong = read(tmp_path / "out/val_misclassified.csv")
    assert len(wrong) == 5
    assert all(true != predicted for true, predicted, _ in wrong)
    assert [float(row[2]) for row in wrong] == sorted((float(row[2]) for row in wrong), reverse=True)
    with Image.open(tmp_path / "out/val_misclassified.png") as picture:
        assert picture.size == (4 * (8 + 2) + 2, 2 * (8 + 2) + 2)
    assert not list((tmp_path / "out").glob("test_*"))
    shown = next(data for data in logged if "val/confusion_matrix" in data)
    assert len(shown["val/misclassified"]) == 5
    assert (
        shown["val/misclassified"][0]._caption == f"{wrong[0][0]}, predicted {wrong[0][1]} ({float(wrong[0][2]):.3f})"
    )
    _check_tensorboard(tmp_path / "out/tensorboard")


def _check_tensorboard(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(directory))
    shown.Reload()
    assert len(shown.Images("val/misclassified")) == 1


def test_a_run_with_test_shows_the_test_split(make_config, tmp_path):
    cfg = make_config(*OPTIONS, "logger=csv", "test=true", "metric=test/accuracy")
    accuracy = train(cfg)
    _, *rows = read(tmp_path / "out/test_confusion_matrix.csv")
    assert sum(int(row[i]) for i, row in enumerate(rows, 1)) / 300 == torch.tensor(accuracy).float()
    data = instantiate(cfg.data)
    data.setup()
    true = torch.bincount(data.splits["test"].classes)
    assert [sum(map(int, row[1:])) for row in rows] == true.tolist()
    assert not list((tmp_path / "out").glob("val_*"))


def test_without_a_logger_nothing_is_written(make_config, tmp_path):
    train(make_config(*OPTIONS, "trainer.max_epochs=1"))
    train(make_config(*OPTIONS, "trainer.max_epochs=1", "logger=csv", "misclassified=0"))
    assert not list((tmp_path / "out").glob("val_*"))
