"""Bad input of a plain run: one message, and no traceback."""

from __future__ import annotations

import pytest

from classifier.compute import Compute
from classifier.refusals import InputError, refusing
from classifier.training import train
from tests.classifier.conftest import Compose
from wandbsweep.current import CurrentTrial, running


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("goal=max", "the choices are minimize, maximize and null"),
        ("ckpt_path=README.md", "no checkpoint"),
        ("trainer.max_epochs=x", "must be a whole number >= -1"),
        ("trainer.accumulate_grad_batches=0", "must be a whole number >= 1"),
        ("trainer.precision=fp8", "'fp8' is invalid"),
        ("checkpoint_every_s=abc", "`every_s` is .abc., but must be >= 0"),
        ("optimizer.lr=abc", "An option of `optimizer` is refused"),
        ("optimizer.lr=-1", "Invalid learning rate: -1"),
        ("scheduler.warmup_steps=-1", "must be a whole number of steps >= 0"),
    ],
)
def test_a_plain_run_refuses_bad_input(make_config: Compose, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message), refusing():
        train(make_config(override))


def test_other_errors_keep_their_type() -> None:
    with pytest.raises(ValueError, match="a bug"), refusing():
        raise ValueError("a bug")
    with running(CurrentTrial(number=0)), pytest.raises(ValueError, match="choices") as caught, refusing():
        Compute(channels_last="x")  # type: ignore[arg-type]
    assert not isinstance(caught.value, InputError)
