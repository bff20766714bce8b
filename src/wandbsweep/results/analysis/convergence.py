"""Convergence: whether the best value still improves, and whether the best trials agree on where to look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wandbsweep.results.analysis.gain import Gain, compute_gain
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.trial_matrix import RELIABLE_TRIALS, Floats, Indices, TrialMatrix, build_trial_matrix
from wandbsweep.results.sweep_data import SweepData

TOP = 0.2
"""The share of the trials that count as the best."""
_MIN_BEST = 5
"""At least this many trials count as the best, however few there are."""
_MIN_SPREAD_TRIALS = 3
_MAX_CONCENTRATION = 0.5
_SIGNIFICANCE = 0.01
_DRAWS = 2000
_MAX_DISCRETE = 50
"""Integers with fewer values than this are drawn as the discrete values they are, others as continuous ones."""


@dataclass(frozen=True)
class Spread:
    """How the best trials spread over one parameter's range."""

    ratio: float
    """Their spread, divided by that of random draws from the range: 1: scattered like these; 0: all at one point."""
    chance: float
    """How often random draws lie as close together as these."""
    trials: int


@dataclass(frozen=True)
class Convergence:
    """Whether the search has found what it can find; its truth value is the verdict."""

    converged: bool
    stalled: bool
    concentrated: bool
    trials_since_best: int
    patience: int
    concentration: float | None
    """The spreads' ratios, weighted by importance: 1: all over the space; 0: all at one point. None: unknown."""
    spreads: Mapping[str, Spread]
    gain: Gain | None
    reasons: tuple[str, ...]
    warning: str = ""

    def __bool__(self) -> bool:
        return self.converged


def assess_convergence(data: SweepData, *, patience: int = 20, important: Importance | None = None) -> Convergence:
    """Return whether it is time to stop searching, with the reasons.

    The verdict is yes if both stop signals of "How to Use W&B Sweeps for Hyperparameter Search" hold, and there are
    enough trials (``RELIABLE_TRIALS``):

    1. "The best validation metric has stopped improving across the last 15-20 runs": ``patience`` trials or more came
       after the best one.
    2. "The best runs concentrating in a well-defined region rather than scattered across the full search space": the
       standard deviation of the best trials' values of each parameter, on its own scale, over that of random draws
       from its range (the entropies, if the values have no order). The mean over the parameters, weighted by their
       importance since an unimportant one always scatters, must be 0.5 or less. For at least one parameter a Monte
       Carlo test must show that it is no chance (1 %, divided by the number of parameters).

    Args:
        data: The sweep.
        patience: How many trials without progress count as a standstill.
        important: The parameters' importance, if it is known already.
    """
    matrix = build_trial_matrix(data)
    if not len(matrix):
        return Convergence(
            False, False, False, 0, patience, None, {}, None, ("no trial has a value yet",), matrix.warning
        )
    since_best = len(matrix) - 1 - int(matrix.order[0])
    stalled = since_best >= patience
    spreads = {name: s for name in matrix.parameters if (s := compute_spread(matrix, name, TOP)) is not None}
    concentration = _weigh(spreads, important if important is not None else compute_importance(matrix))
    is_significant = any(s.chance < _SIGNIFICANCE / len(spreads) for s in spreads.values())
    concentrated = concentration is not None and concentration <= _MAX_CONCENTRATION and is_significant
    gain = compute_gain(matrix, learns=data.spec.method_info.learns)
    return Convergence(
        converged=stalled and concentrated and len(matrix) >= RELIABLE_TRIALS,
        stalled=stalled,
        concentrated=concentrated,
        trials_since_best=since_best,
        patience=patience,
        concentration=concentration,
        spreads=spreads,
        gain=gain,
        reasons=(
            _describe_stall(since_best, patience),
            _describe_spread(spreads, concentration, concentrated),
            _describe_gain(gain, matrix),
        ),
        warning=matrix.warning,
    )


def find_best(matrix: TrialMatrix, top: float) -> Indices:
    """Return the positions of the best ``top`` of the trials, at least five if there are as many."""
    return matrix.order[: min(len(matrix), max(_MIN_BEST, math.ceil(top * len(matrix))))]


def compute_spread(matrix: TrialMatrix, name: str, top: float) -> Spread | None:
    """Return how the best ``top`` of the trials spread over a parameter's range; None if fewer than three have it."""
    chosen = find_best(matrix, top)
    chosen = chosen[matrix.presence(name)[chosen]]
    if len(chosen) < _MIN_SPREAD_TRIALS:
        return None
    rng = np.random.default_rng(0)
    shape = (_DRAWS, len(chosen))
    if matrix.is_ordered(name):
        points = _list_points(matrix, name)
        drawn = rng.random(shape) if points is None else points[rng.integers(len(points), size=shape)]
        measured, random = float(matrix.coordinates(name)[chosen].std()), drawn.std(axis=1)
    else:
        count = len(matrix.parameters[name].values or ())
        measured = float(_compute_entropy(matrix.codes(name)[chosen][None], count)[0])
        random = _compute_entropy(rng.integers(count, size=shape), count)
    expected = float(np.mean(random))
    return Spread(measured / expected if expected else 1.0, float(np.mean(random <= measured + 1e-12)), len(chosen))


def _list_points(matrix: TrialMatrix, name: str) -> Floats | None:
    """Return the coordinates that listed numbers or a few integers can have; None if they are continuous."""
    parameter = matrix.parameters[name]
    if parameter.values is not None:
        count = len({float(value) for value in parameter.values})
    elif parameter.distribution == "int_uniform" and parameter.ppf(1.0) - parameter.ppf(0.0) < _MAX_DISCRETE:
        count = parameter.ppf(1.0) - parameter.ppf(0.0) + 1
    else:
        return None
    return (np.arange(count) + 0.5) / count


def _compute_entropy(codes: Indices, count: int) -> Floats:
    """Return the entropy of the categories in each row."""
    from scipy.special import entr

    shares = np.stack([(codes == k).mean(axis=1) for k in range(count)])
    entropy: Floats = entr(shares).sum(axis=0)
    return entropy


def _weigh(spreads: Mapping[str, Spread], weights: Mapping[str, float]) -> float | None:
    """Return the mean of the spreads' ratios; None if no parameter has a weight."""
    known = {name: weights.get(name, 0.0) for name in spreads}
    total = sum(known.values())
    if not known or total <= 0:
        return None
    return sum(spreads[name].ratio * weight for name, weight in known.items()) / total


def _describe_stall(since_best: int, patience: int) -> str:
    if since_best >= patience:
        return f"the best has not improved in the last {since_best} trials ({patience} count as a standstill)"
    when = "one trial ago" if since_best == 1 else f"{since_best} trials ago" if since_best else "by the last trial"
    return f"the best was found {when}; {patience} without progress are a standstill"


def _describe_spread(spreads: Mapping[str, Spread], concentration: float | None, concentrated: bool) -> str:
    if concentration is None:
        return "whether the best trials lie together is unknown"
    tightest = min(spreads, key=lambda name: (spreads[name].chance, spreads[name].ratio))
    if concentrated:
        verdict = "concentrate in a region"
    elif concentration <= _MAX_CONCENTRATION:
        verdict = "lie together, but chance may have put them there"
    else:
        verdict = "are still scattered"
    return (
        f"the best {TOP:.0%} of the trials {verdict}: they spread over {concentration:.0%} of what random ones do, "
        f"weighted by importance ({_MAX_CONCENTRATION:.0%} or less is concentrated); tightest in {tightest}, "
        f"{spreads[tightest].ratio:.0%}"
    )


def _describe_gain(gain: Gain, matrix: TrialMatrix) -> str:
    amount = "" if gain.expected is None else f", expected to improve {matrix.metric} by {gain.expected:.3g} in all"
    return f"{gain.more} more trials beat the best with a chance of {gain.chance:.0%}{amount} ({gain.basis})"
