"""Metrics in the lines that a program prints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from wandbsweep.programs.printed import PrintedMetrics
from wandbsweep.programs.wandb_log import Row


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("val/loss=0.5", Row(0, {"val/loss": 0.5})),
        ("epoch=3 val/loss=5e-1, acc=.75", Row(0, {"epoch": 3.0, "val/loss": 0.5, "acc": 0.75})),
        ("step=7 val/loss=0.5", Row(7, {"val/loss": 0.5})),
        ("Epoch 3/10: val/loss: 0.5 - lr: 1e-05", Row(0, {"val/loss": 0.5, "lr": 1e-5})),
        ("[2026-01-01 10:00:00] val/loss = -0.5;", None),
        ("\x1b[32mval/loss=0.5\x1b[0m", Row(0, {"val/loss": 0.5})),
        ('{"val/loss": 0.5, "step": 2, "text": "x", "more": {"a": 1}}', Row(2, {"val/loss": 0.5, "more.a": 1.0})),
        ('{"val": {"loss": 0.5}}', None),
        ("val/loss=inf", Row(0, {"val/loss": math.inf})),
        ("best_val/loss=0.5", None),
        ("val/loss=0.5.3", None),
        ("val/loss=none", None),
        ("train/loss=0.5", None),
        ("val/loss", None),
    ],
)
def test_a_line(line: str, row: Row | None, tmp_path: Path) -> None:
    (tmp_path / "out").write_text(f"{line}\n")
    read = PrintedMetrics(tmp_path / "out", ["val/loss"]).read()
    if line.startswith("[2026"):  # the time is no metric, whatever its name would be
        (only,) = read
        assert only.metrics["val/loss"] == -0.5
        return
    assert read == ([] if row is None else [row])


def test_a_name_with_blanks(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("Validation Accuracy: 71.5\n{'a': 1}\nValidation Accuracy=80\n")
    read = PrintedMetrics(tmp_path / "out", ["Validation Accuracy"]).read()
    assert [row.metrics["Validation Accuracy"] for row in read] == [71.5, 80.0]
    assert [row.step for row in read] == [0, 1]


def test_a_limited_metric_in_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("epoch=0 loss=3\npeak memory: 7\nloss=2\npeak memory: 8\nepoch=1\n")
    read = PrintedMetrics(tmp_path / "out", ["loss"], ["peak memory"]).read()
    assert [(row.step, row.metrics.get("loss"), row.metrics.get("peak memory")) for row in read] == [
        (0, 3.0, None),
        (0, None, 7.0),
        (1, 2.0, None),
        (1, None, 8.0),
    ]


def test_lines_that_are_still_written(tmp_path: Path) -> None:
    """A progress bar returns the carriage, and the last line may have no end."""
    out = tmp_path / "out"
    printed = PrintedMetrics(out, ["loss"])
    assert printed.read() == []
    with out.open("ab", buffering=0) as file:
        file.write(b"loss=3\rloss=2\r\nlos")
        assert [row.metrics for row in printed.read()] == [{"loss": 3.0}, {"loss": 2.0}]
        file.write(b"s=1")
        assert printed.read() == []
    assert printed.read(is_over=True) == [Row(2, {"loss": 1.0})]
    assert printed.read(is_over=True) == []
