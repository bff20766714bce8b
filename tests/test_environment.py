"""Environment variables that are set for a while."""

from __future__ import annotations

import os

import pytest

from wandbsweep.environment import restore_variables, set_variables


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "before")
    monkeypatch.delenv("UNSET", raising=False)


def test_variables_are_set_for_a_block() -> None:
    with set_variables({"SET": "within", "UNSET": "within"}):
        assert (os.environ["SET"], os.environ["UNSET"]) == ("within", "within")
    assert (os.environ["SET"], os.environ.get("UNSET")) == ("before", None)


def test_they_are_restored_after_an_error() -> None:
    with pytest.raises(RuntimeError), set_variables({"SET": "within"}):
        raise RuntimeError
    assert os.environ["SET"] == "before"


def test_what_the_block_changes_is_restored() -> None:
    with restore_variables(["SET", "UNSET"]):
        del os.environ["SET"]
        os.environ["UNSET"] = "within"
    assert (os.environ["SET"], os.environ.get("UNSET")) == ("before", None)
