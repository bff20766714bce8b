"""The trials as tables and files."""

import json
import math

import pandas as pd
import pytest

from tests.results.sweeps import TRADE_OFF, TRAINING, plant_sweep, train_sweep
from wandbsweep import SweepError, create_sweep, load_sweep, open_sweep

CONTRACT = ["number", "state", "metric", "steps", "duration_s", "attempts"]
MIXED = {"a": {"values": [1, "two", None, 2.5, True]}, "b": {"values": [[1, 2], [3]]}}


def test_the_columns(tmp_path):
    frame = train_sweep(tmp_path, TRAINING, 6, fail={2}, odd={3}).frame
    assert list(frame.columns)[:6] == CONTRACT
    assert {"params.optimizer.lr", "params.model", "metrics.val/loss", "metrics.val/accuracy"} <= set(frame.columns)
    assert frame["metric"].dtype == frame["duration_s"].dtype == "float64"
    assert math.isnan(frame["metric"][2])
    assert frame["params.data.batch_size"].dtype == "int64"


def test_histories(tmp_path):
    results = train_sweep(tmp_path, TRAINING, 4, steps=5, fail={1}, odd={2})
    found = results.histories
    assert list(found.columns) == ["number", "step", "value"]
    assert len(found) == 15
    assert list(found[found.number == 0].step) == [0, 1, 2, 3, 4]
    assert found[found.number == 2].value.isna().sum() == 2
    assert found.groupby("number").value.min()[0] == pytest.approx(results.trials[0].value)


@pytest.mark.parametrize("config", [TRAINING, TRADE_OFF])
def test_nothing_yet(tmp_path, config):
    create_sweep(load_sweep(config | {"run_cap": 3}), tmp_path).close()
    results = open_sweep(tmp_path)
    assert len(results.frame) == len(results.histories) == 0
    for suffix in ("csv", "jsonl", "parquet"):
        assert results.export(tmp_path / f"all.{suffix}").exists()


READ = {"csv": pd.read_csv, "jsonl": lambda file: pd.read_json(file, lines=True), "parquet": pd.read_parquet}


@pytest.mark.parametrize("suffix", READ)
@pytest.mark.parametrize("histories", [False, True])
def test_written_and_read(tmp_path, suffix, histories):
    results = train_sweep(tmp_path, TRAINING, 6, fail={2}, odd={3})
    frame = results.histories if histories else results.frame
    read = READ[suffix](results.export(tmp_path / f"all.{suffix}", histories=histories))
    assert list(read.columns) == list(frame.columns)
    finite = frame.replace([math.inf, -math.inf], math.nan) if suffix == "jsonl" else frame
    pd.testing.assert_frame_equal(read, finite, check_dtype=False, rtol=1e-9)


@pytest.mark.parametrize("suffix", READ)
def test_values_of_several_types(tmp_path, suffix):
    results = plant_sweep(tmp_path, MIXED, lambda p: 1.0, 10, method="grid")
    READ[suffix](results.export(tmp_path / f"all.{suffix}"))
    if suffix == "jsonl":
        rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        assert [row["params.a"] for row in rows][::2] == [1, "two", None, 2.5, True]
        assert rows[0]["params.b"] == [1, 2]
    if suffix == "parquet":
        assert list(pd.read_parquet(tmp_path / "all.parquet")["params.b"])[:2] == ["[1, 2]", "[3]"]


def test_json_lines_hold_no_nan(tmp_path):
    results = train_sweep(tmp_path, TRAINING, 4, odd={0, 1, 2, 3})
    text = results.export(tmp_path / "all.jsonl", histories=True).read_text()
    assert [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def test_other_formats(tmp_path):
    results = train_sweep(tmp_path, TRAINING, 1)
    with pytest.raises(SweepError, match=r"is '.xlsx', which says no format; the choices are .csv, .jsonl, .parquet"):
        results.export(tmp_path / "all.xlsx")
    with pytest.raises(SweepError, match="does not exist"):
        results.export(tmp_path / "nowhere" / "all.csv")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
