"""The launch record: its file keeps the keys that older versions wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.sweep.launch_record import (
    HIDDEN,
    Application,
    ControllerOptions,
    HostedPlace,
    LaunchRecord,
    SnapshotPaths,
    TrialOverrides,
)

OLD = sorted((Path(__file__).parents[1] / "data" / "old_sweeps").rglob("plan.json"))

RECORD = LaunchRecord(
    "abcd1234",
    Application("/project", "config", "train", ["python", "train.py"]),
    TrialOverrides([{"line": "a=1"}, {"parameter": "b", "key": "+b", "raw": {"1": "1"}}], ["hydra.job.chdir=true"], []),
    SnapshotPaths([["main", "snapshot://0"]], ["snapshot://searchpath-0"]),
    ControllerOptions({"b": [1, 2]}, seed=3, storage="sqlite:////store.db", max_failures=None, lease_s=5.0),
)


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, hosted=HostedPlace("me", "digits"), wandb={"summary": True}),
        replace(RECORD, hosted=HostedPlace("me", "digits", begun="elsewhere")),
    ],
)
def test_what_is_saved_is_loaded(tmp_path: Path, record: LaunchRecord) -> None:
    record.save(tmp_path)
    assert LaunchRecord.load(tmp_path) == record


@pytest.mark.parametrize("old", OLD, ids=lambda file: file.parents[1].name)
def test_an_old_file_is_saved_as_it_was(tmp_path: Path, old: Path) -> None:
    (tmp_path / HIDDEN).mkdir()
    (tmp_path / HIDDEN / "plan.json").write_bytes(old.read_bytes())
    LaunchRecord.load(tmp_path).save(tmp_path)
    assert json.loads((tmp_path / HIDDEN / "plan.json").read_text()) == json.loads(old.read_text())


def test_there_is_an_old_file() -> None:
    assert OLD


@pytest.mark.parametrize("stored", ["{}", "[]", "null", '{"sweep_id": "a", "later": 1}'])
def test_what_is_no_record_is_refused(tmp_path: Path, stored: str) -> None:
    (tmp_path / HIDDEN).mkdir()
    (tmp_path / HIDDEN / "plan.json").write_text(stored)
    with pytest.raises(SweepDirectoryError, match="holds no launch record"):
        LaunchRecord.load(tmp_path)


def test_a_sweep_without_a_record(tmp_path: Path) -> None:
    assert LaunchRecord.load_if_exists(tmp_path) is None
    with pytest.raises(SweepDirectoryError, match=r"was not started by Hydra: \.sweep/plan\.json is missing"):
        LaunchRecord.load(tmp_path)
