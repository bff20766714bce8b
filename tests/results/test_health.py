"""The checks of a sweep, and what the report draws besides: on sweeps whose answers are known."""

from __future__ import annotations

import json

import pytest

from tests.configurations import UNIT
from tests.results.sweeps import TRAINING, plant_sweep, train_sweep
from wandbsweep.results.analysis.correlation import compute_correlation, explain_difference
from wandbsweep.results.analysis.health import check_health
from wandbsweep.results.analysis.partial_dependence import compute_partial_dependence
from wandbsweep.results.analysis.trial_matrix import build_trial_matrix
from wandbsweep.results.report.data import build_page_data
from wandbsweep.sweep.report_log import read_report_log


def judge(data):
    return {check.question.split()[0] + check.question.split()[-1]: check for check in check_health(data)}


def test_a_sweep_with_faults(tmp_path):
    config = TRAINING | {"early_terminate": {"type": "hyperband", "min_iter": 3}}
    checks = judge(train_sweep(tmp_path, config, 30, fail=set(range(6))))
    assert checks["Dorun?"].verdict == "doubtful"
    assert checks["Dorun?"].evidence == "6 of 30 ended trials failed or crashed. Most often (6): RuntimeError."
    assert checks["Aretrials?"].verdict == "doubtful"
    assert checks["Aretrials?"].evidence.startswith("24 trials with a value; 30 are wanted")
    assert checks["Didhelp?"].evidence.startswith("It saved")
    assert checks["Isenough?"].evidence.startswith("8 reports in a finished trial (median). Early termination first")
    assert "optimizer.lr" in checks["Isspace?"].evidence


def test_a_metric_that_is_reported_too_seldom(tmp_path):
    stopper = {"type": "hyperband", "min_iter": 3}
    checks = judge(plant_sweep(tmp_path, {"x": UNIT}, lambda p: p["x"], 30, early_terminate=stopper))
    assert (checks["Isenough?"].verdict, checks["Isenough?"].answer) == ("doubtful", "too seldom to stop anything")
    assert checks["Isnoise?"].verdict == "unknown"
    assert checks["Aretrials?"].verdict == checks["Dorun?"].verdict == "good"


@pytest.mark.parametrize(("gap", "verdict"), [(0.5, "good"), (0.0, "doubtful")])
def test_the_lead_against_the_noise_between_seeds(tmp_path, gap, verdict):
    repeats = {"parameter": "seed", "values": [0, 1, 2]}
    space = {"a": {"values": ["x", "y"]}}
    data = plant_sweep(
        tmp_path, space, lambda p: gap * (p["a"] == "y") + p["seed"] / 50, 6, method="grid", repeats=repeats
    )
    assert judge(data)["Isnoise?"].verdict == verdict


def test_a_sweep_without_values_is_asked_only_whether_its_trials_run(tmp_path):
    assert list(judge(train_sweep(tmp_path, TRAINING, 3, fail={0, 1, 2}))) == ["Dorun?"]


def test_partial_dependence_finds_what_the_metric_depends_on(tmp_path):
    space = {"x": UNIT, "c": {"values": ["a", "b"]}, "n": {"values": [32, 16]}, "noise": UNIT}
    data = plant_sweep(tmp_path, space, lambda p: (p["x"] - 0.5) ** 2 + (p["c"] == "b"), 60, goal="maximize")
    found = compute_partial_dependence(build_trial_matrix(data))
    assert found["c"].values == ("a", "b")
    assert found["n"].values == (16, 32)
    low, high = found["c"].mean
    assert high - low == pytest.approx(1.0, abs=0.2)
    for dependence in found.values():
        assert (dependence.low <= dependence.high).all()
    ends, middle = (found["x"].mean[0] + found["x"].mean[-1]) / 2, found["x"].mean[12]
    assert ends > middle + 0.1
    assert max(found["noise"].mean) - min(found["noise"].mean) < 0.1
    rows = {row["name"]: row for row in build_page_data(data)["analysis"]["metrics"][0]["rows"]}
    assert rows["n"]["dependence"][0] == ["16", "32"]


def test_why_correlations_by_value_and_by_rank_differ(tmp_path):
    outlier = plant_sweep(tmp_path / "a", {"x": UNIT}, lambda p: 50.0 if p["x"] < 0.03 else p["x"], 60)
    curved = plant_sweep(tmp_path / "b", {"x": UNIT}, lambda p: p["x"] ** 30, 60)
    straight = plant_sweep(tmp_path / "c", {"x": UNIT}, lambda p: p["x"], 20)
    texts = []
    for data in (outlier, curved, straight):
        matrix = build_trial_matrix(data)
        texts.append(explain_difference(matrix, "x", compute_correlation(matrix)["x"]))
    assert "loss is extreme in" in texts[0]
    assert texts[1]
    assert texts[2] == ""


def test_every_report_is_kept_with_all_its_metrics(tmp_path):
    data = train_sweep(tmp_path, TRAINING, 4, steps=5, odd={2})
    reports = read_report_log(tmp_path, 1)
    assert list(reports) == [0, 1, 2, 3, 4]
    assert set(reports[0].metrics) == {"val/loss", "val/accuracy"}
    assert reports[0].at <= reports[4].at
    with open(tmp_path / ".sweep" / "reports" / "1.jsonl", "a") as file:
        file.write('[5, 1.0, {"val/acc')  # its writer was killed
    assert list(read_report_log(tmp_path, 1)) == [0, 1, 2, 3, 4]
    assert read_report_log(tmp_path, 99) == {}
    curves = json.loads(json.dumps(build_page_data(data)["curves"], allow_nan=False))
    assert curves["metrics"]["val/accuracy"]["1"][0] == [0, 1, 2, 3, 4]
    assert curves["seconds"]["1"][1] == sorted(curves["seconds"]["1"][1])
