"""Bad input: one message and no traceback, before anything is computed and before a logger has opened a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from classifier.checks import check_values
from classifier.compute import Compute
from classifier.module import ImageClassifier
from classifier.refusals import InputError, refusing
from classifier.training import train
from tests.classifier.conftest import Compose
from wandbsweep.current import CurrentTrial, running
from wandbsweep.trial import CONTINUE

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("callbacks", "compute", "data", "model", "module", "optimizer", "scheduler", "trainer")
NO_NUMBERS = {
    "ckpt_path", "compute.float32_matmul_precision", "data.cache", "data.train_transform", "goal", "model.freeze",
    "model.weights", "trainer.benchmark",
}  # fmt: skip
"""Keys whose value is null, and otherwise a word or a mapping."""


def list_numbers() -> dict[str, list[str]]:
    """Return the keys of ``conf/`` whose values are or may be numbers, by a choice of a group that has them."""

    def walk(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in options.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")
            elif not name.startswith("_") and name != "experiment" and not prefix.startswith("hydra"):
                yield f"{prefix}{name}", value

    found: dict[str, str] = {}
    for group in ("", *GROUPS):
        for file in sorted((CONF / group).glob("*.yaml")):
            nested = group == "callbacks"
            prefix = f"{group}.{file.stem}." if nested else f"{group}." if group else ""
            choice = f"{group}=[{file.stem}]" if nested else f"{group}={file.stem}"
            for key, value in walk(yaml.safe_load(file.read_text()) or {}, prefix):
                first = value[0] if isinstance(value, list) and value else value
                if isinstance(first, int | float) or (first is None and key not in NO_NUMBERS):
                    found.setdefault(key, choice if group else "seed=0")
    return {choice: [key for key in found if found[key] == choice] for choice in sorted(set(found.values()))}


@pytest.fixture(autouse=True)
def refuse_to_train(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Fail a test whose training begins, or opens its loggers, unless it is marked by its name."""
    if "late" not in request.node.name:
        monkeypatch.setattr("classifier.training.open_loggers", lambda cfg: pytest.fail("The input was accepted"))


@pytest.mark.parametrize(("choice", "keys"), list_numbers().items())
def test_a_number_out_of_range_is_refused(make_config: Compose, choice: str, keys: list[str]) -> None:
    cfg = make_config(choice, *["data.root=."] * (choice == "data=image_folder"))
    for key in keys:
        for value in ("abc", -3, {"a": 1}):
            changed = cfg.copy()
            OmegaConf.update(changed, key, value, merge=False)
            with pytest.raises(InputError, match=re.escape(key.rpartition(".")[2])), refusing():
                train(changed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("goal=max", "the choices are minimize, maximize and null"),
        ("ckpt_path=README.md", "no checkpoint"),
        ("trainer.max_epochs=x", "`trainer.max_epochs` is 'x', but must be a whole number >= 1, or -1 or null"),
        ("trainer.max_epochs=0", "must be a whole number >= 1, or -1 or null"),
        ("trainer.precision=fp8", "'fp8' is invalid"),
        ("checkpoint_every_s=abc", "`checkpoint_every_s` is 'abc', but must be a number >= 0"),
        ("optimizer.lr=true", "`optimizer.lr` is true, but must be a number >= 0"),
        ("optimizer.betas=[0.9]", "but must be a list of 2, each a number >= 0 and < 1"),
        ("optimizer.lr=nan", "`optimizer.lr` is nan, but must be a number >= 0"),
        ("+optimizer.eps=-1", "An option of `optimizer` is refused: .*Invalid epsilon value: -1"),
        ("scheduler.warmup_steps=-1", "must be a whole number of steps >= 0"),
        ("scheduler.decay=cubic", "Unknown decay 'cubic'"),
        ("model.dropout=2", "`model.dropout` is 2, but must be a number >= 0 and < 1"),
        ("model.hidden=[0]", "`model.hidden` is .0., but must be a list, each a whole number >= 1"),
        ("misclassified=-3", "`misclassified` is -3, but must be a whole number >= 0"),
        ("data.val_size=5000", "there are only"),
        ("data.batch_size=5000 +data.drop_last=true", "`data.batch_size` is 5000, but with `data.drop_last` must be"),
        ("module.ema=0.9 trainer.precision=bf16-true", "must be null with trainer.precision=bf16-true"),
        ("logger=wandb logger.log_model=x", "the choices are null, best and all"),
        ("metric=val/acc", "The value of `metric` is 'val/acc', which is not logged. Logged are: .*val/accuracy"),
        ("metric=test/loss", "`metric` is 'test/loss', which is not logged"),
        ("trainer.limit_val_batches=0", "`metric` is 'val/accuracy', which is not logged"),
        ("callbacks=[early_stopping] callbacks.early_stopping.monitor=x", "`callbacks.early_stopping.monitor` is 'x'"),
    ],
)
def test_a_plain_run_refuses_bad_input(make_config: Compose, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message), refusing():
        train(make_config(*override.split()))


def test_a_validation_may_come_after_a_time(make_config: Compose) -> None:
    check_values(make_config("trainer.val_check_interval='00:00:30:00'"))
    with pytest.raises(ValueError, match="or a time such as 00:01:30:00"):
        check_values(make_config("trainer.val_check_interval='30:00'"))


def test_options_of_your_own_classes_have_no_range(make_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "make", lambda **_: torch.nn.Linear(2, 2))
    with pytest.raises(pytest.fail.Exception):
        train(make_config(f"model._target_={__name__}.make", "model.dropout=2"))


def test_a_trial_refuses_a_sweeps_metric_that_is_not_logged(make_config: Compose) -> None:
    with (
        running(CurrentTrial(number=0, metric="val/acc")),
        pytest.raises(ValueError, match="The value of the sweep's metric is 'val/acc', which is not logged"),
    ):
        train(make_config())


class OwnModule(ImageClassifier):
    """Its metrics are known only when it logs them."""

    started = 0

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        type(self).started += 1

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("own", 1.0)


@pytest.mark.parametrize("validates", [True, False])
def test_of_your_own_module_a_missing_metric_is_noticed_late_in_the_first_epoch(
    make_config: Compose, validates: bool
) -> None:
    OwnModule.started = 0
    options = [f"module._target_={__name__}.OwnModule", "trainer.max_epochs=9", "trainer.limit_train_batches=1"]
    options += [] if validates else ["trainer.limit_val_batches=0"]
    with pytest.raises(InputError, match=r"'val/acc' was not logged. Logged were: .*own"), refusing():
        train(make_config(*options, "metric=val/acc"))
    assert OwnModule.started == 1
    assert train(make_config(*options, "metric=own", "trainer.max_epochs=3")) == 1
    assert OwnModule.started == 4
    trial = CurrentTrial(number=0, metric="val/acc", send=lambda *_: CONTINUE)  # may have it from elsewhere
    with running(trial), pytest.warns(UserWarning, match="'val/acc' was not logged in the first epoch"):
        assert train(make_config(*options, "trainer.max_epochs=1")) is None


def test_exactly_what_is_listed_is_logged_late(make_config: Compose, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError) as refused, refusing():
        train(make_config("metric=x", "test=true"))
    listed = str(refused.value).partition("Logged are: ")[2].split(", ")
    caplog.set_level("INFO")
    train(make_config("test=true"))
    assert re.findall(r"^  (\S+) ", caplog.text.partition("Final metrics:")[2], re.M) == listed


def test_other_errors_keep_their_type() -> None:
    with pytest.raises(ValueError, match="a bug"), refusing():
        raise ValueError("a bug")
    with running(CurrentTrial(number=0)), pytest.raises(ValueError, match="choices") as caught, refusing():
        Compute(channels_last="x")  # type: ignore[arg-type]
    assert not isinstance(caught.value, InputError)
