"""Whether early termination hurt a sweep: `analyse` says so from the sweep's own curves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wandbsweep.results.analysis.health import check_health
from wandbsweep.results.analysis.verdicts import judge_stops
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.spec.load import load_sweep
from wandbsweep.stopping.successive_halving import hyperband
from wandbsweep.trial import TrialRecord

STEPS = 18


def train(*, crossing: bool, trials: int = 40, method: str = "bayes") -> SweepData:
    """Make a sweep under hyperband; if curves cross, the trials that end best (large x) begin worst."""
    space = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
    config = {"method": method, "metric": {"name": "loss"}, "parameters": space}
    spec = load_sweep({**config, "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3}})
    rng = np.random.default_rng(0)
    records: list[TrialRecord] = []
    for number in range(trials):
        x, y = rng.random(2).tolist()
        end, start = 1 - x, 1 + 2 * x if crossing else 3 - x
        curve: list[float] = []
        state = "finished"
        for k in range(STEPS):
            left = 1 - math.log(k + 1) / math.log(STEPS)
            curve.append(end + (start - end) * left + 0.01 * float(rng.standard_normal()))
            histories = {r.number: r.history for r in records} | {number: curve}
            if k + 1 < STEPS and hyperband(spec.early_terminate, "minimize", histories, {number}):
                state = "stopped"
                break
        records.append(TrialRecord(number, state, {"x": x, "y": y}, dict(enumerate(curve)), min(curve)))
    return SweepData(Path(), spec, records)


@pytest.fixture(scope="module")
def crossing() -> SweepData:
    return train(crossing=True)


def test_stops_of_slow_starters_hurt(crossing: SweepData) -> None:
    found = judge_stops(crossing)
    assert found is not None
    assert found.hurt
    assert found.expected_losses > found.best_places / 2
    # The likeliest ones are those that would have ended best, although each was worse when it was stopped.
    best = max(trial.params["x"] for trial in crossing.trials if trial.state == "stopped")
    assert any(crossing.trials[number].params["x"] > best - 0.1 for number in found.likely)
    text = found.describe()
    assert "hyperband's stops probably hurt this sweep" in text
    assert "type: thaw" in text
    checks = {check.question: check for check in check_health(crossing)}
    assert checks["Did early stopping help?"].verdict == "doubtful"


def test_stops_that_did_not_hurt() -> None:
    found = judge_stops(train(crossing=False))
    assert found is not None
    assert not found.hurt
    assert found.chance < 0.2
    assert found.describe().endswith("the stops did not hurt.")
    assert all(tau > 0.7 for tau in found.agreements.values())


def test_nothing_to_judge(crossing: SweepData) -> None:
    finished = [trial for trial in crossing.trials if trial.state == "finished"]
    assert judge_stops(replace(crossing, trials=finished)) is None
    stopped = [trial for trial in crossing.trials if trial.state == "stopped"]
    assert judge_stops(replace(crossing, trials=[*finished[:2], *stopped])) is None
    assert judge_stops(replace(crossing, spec=replace(crossing.spec, early_terminate=None))) is None
