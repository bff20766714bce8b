"""What the Bayesian search believes: the scale of the values, and whether they tell anything of a configuration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.configurations import BAYES
from wandbsweep.search.bayes.curves import Warp
from wandbsweep.search.bayes.gp import Observations, fit, weigh_evidence
from wandbsweep.search.bayes.model import fill, suggest
from wandbsweep.search.bayes.space import Space
from wandbsweep.spec.load import load_sweep
from wandbsweep.trial import TrialRecord

CUBE = {name: {"min": 0.0, "max": 1.0} for name in "abcd"}


def whole(z: np.ndarray) -> Observations:
    return Observations(np.arange(len(z)), np.zeros(len(z)), z)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [1.0, 1.0, 7.0], [0.1, 0.2, 0.3, 1e300], [-1e300, 1e300]])
def test_the_scale_of_values_is_finite(values: list[float]) -> None:
    warp = Warp.fit(np.array(values))
    assert np.isfinite(warp(np.array([*values, -1e300, 1e300]))).all()


def test_only_values_that_depend_on_the_configuration_are_evidence() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((16, 3))
    squares = Space(load_sweep(BAYES | {"parameters": {n: CUBE[n] for n in "abc"}}).parameters).differences(x, x)
    slope, noise = whole(2 * x[:, 0] + x[:, 1]), whole(rng.standard_normal(16))
    slope = dataclasses.replace(slope, z=(slope.z - slope.z.mean()) / slope.z.std())
    assert weigh_evidence(squares, slope, fit(squares, slope)) > 4
    assert weigh_evidence(squares, noise, fit(squares, noise)) < 0


@pytest.mark.parametrize("count", [14, 15])
def test_every_other_ask_explores_while_the_values_hold_no_evidence(count: int) -> None:
    spec = load_sweep(BAYES | {"parameters": CUBE})
    space, rng = Space(spec.parameters), np.random.default_rng(5)
    x = rng.random((count, 4))
    explored = {}
    for name, values in (("noise", rng.standard_normal(count)), ("slope", x.sum(1))):
        trials = [
            TrialRecord(n, "finished", space.decode(row), {0: value}, value)
            for n, (row, value) in enumerate(zip(x, values.tolist(), strict=True))
        ]
        proposed = suggest(spec, trials, rng=np.random.default_rng(2))
        explored[name] = proposed == space.decode(fill(space, x, np.random.default_rng(2)))
    assert explored == {"noise": count == 15, "slope": False}
