"""A training by several processes, which Lightning starts: train.py in processes of its own, on a CPU."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_processes_see_each_image_once(tmp_path: Path) -> None:
    """In the metrics, and in the confusion matrix, of averaged weights that are the same in both."""
    options = ["trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.max_epochs=2", "module.ema=0.9", "test=true"]
    where = ["logger=csv", f"hydra.run.dir={tmp_path}"]
    command = [sys.executable, "train.py", "trainer.devices=2", *options, *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "test_confusion_matrix.csv").open() as file:
        rows = [list(map(int, row[1:])) for row in list(csv.reader(file))[1:]]
    assert sum(map(sum, rows)) == 300
    (shown,) = re.findall(r"^  test/accuracy +(\S+)", done.stdout, re.MULTILINE)  # once
    assert float(shown) == pytest.approx(sum(row[k] for k, row in enumerate(rows)) / 300)
    with (tmp_path / "metrics.csv").open() as file:
        epochs = [row for row in csv.DictReader(file) if row["val/loss"]]
    assert len(epochs) == 2
