"""Retry with backoff."""

from __future__ import annotations

import itertools

import pytest

from wandbsweep import retry as retry_module
from wandbsweep.retry import Backoff, retry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, on a clock that only they move."""
    made: list[float] = []
    monkeypatch.setattr(retry_module.time, "sleep", made.append)
    monkeypatch.setattr(retry_module.time, "monotonic", lambda: sum(made))
    return made


def test_pauses_double_up_to_the_longest_and_end_by_the_deadline(pauses: list[float]) -> None:
    warnings: list[Exception] = []

    def action() -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        retry(action, Backoff(20.0, 1.0, 5.0), is_transient=lambda error: True, warn=warnings.append)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert [str(error) for error in warnings] == ["away"]


def test_the_first_success_is_returned(pauses: list[float]) -> None:
    attempts = itertools.count()

    def action() -> int:
        if (number := next(attempts)) < 2:
            raise OSError("away")
        return number

    assert retry(action, Backoff(9.0, 1.0, 1.0), is_transient=lambda error: True) == 2
    assert pauses == [1.0, 1.0]


def test_other_errors_are_raised_at_once(pauses: list[float]) -> None:
    def action() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        retry(action, Backoff(9.0, 1.0, 1.0), is_transient=lambda error: isinstance(error, OSError))
    assert pauses == []


def test_without_time_there_is_one_attempt(pauses: list[float]) -> None:
    def action() -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        retry(action, Backoff(0.0, 1.0, 1.0), is_transient=lambda error: True)
    assert pauses == []


def test_pauses_without_a_deadline_use_up_the_total_and_are_jittered() -> None:
    backoff = Backoff(10.0, 1.0, 4.0, jitter=(0.5, 1.5))
    made = list(backoff.pauses())
    assert len(made) == 4  # 1, 2, 4 and 4
    for pause, nominal in zip(made, [1, 2, 4, 4], strict=True):
        assert 0.5 * nominal <= pause <= 1.5 * nominal
    assert made[-1] <= 3.0
