"""When to stop searching: whether the best still improves, and whether the best trials agree on where to look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wandbsweep.results.analysis.gain import Gain, compute_gain
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.trial_matrix import FEW, TrialMatrix, build_trial_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wandbsweep.results.sweep_data import SweepData

TOP = 0.2
_LEAST_BEST = 5
_CONCENTRATED = 0.5
_SURE = 0.01
_DRAWS = 2000


@dataclass(frozen=True)
class Spread:
    """How the best trials lie in one parameter's searched range."""

    ratio: float
    """1: as scattered as random draws from the range; 0: all at one point."""
    chance: float
    """How often as many random draws lie as close together: small where it is no chance."""
    trials: int


@dataclass(frozen=True)
class Convergence:
    """Whether the search has found what it can find; in a boolean context the verdict."""

    converged: bool
    stalled: bool
    concentrated: bool
    trials_since_best: int
    patience: int
    concentration: float | None
    """The spreads' ratios, weighted by importance: 1 scattered over the searched space, 0 one point. None: unknown."""
    spreads: Mapping[str, Spread]
    gain: Gain | None
    reasons: tuple[str, ...]
    warning: str = ""

    def __bool__(self) -> bool:
        return self.converged


def assess_convergence(
    data: SweepData, *, patience: int = 20, top: float = TOP, important: Importance | None = None
) -> Convergence:
    """The two stop signals of "How to Use W&B Sweeps for Hyperparameter Search", as numbers.

    1. "The best validation metric has stopped improving across the last 15-20 runs": trials since the best one, against
       ``patience``.
    2. "The best runs concentrating in a well-defined region rather than scattered across the full search space": of the
       best ``top`` of the trials (5 at least), the standard deviation of each parameter's values on its own scale, over
       that of random draws from its whole range (of a parameter without order, the entropies); a Monte Carlo test says
       how often chance does as well. Parameters weigh by their importance, since those that matter to nothing scatter
       for ever. Concentrated: 0.5 or less, and at least one parameter for which chance is below 1 % over all of them.

    Both have to hold, and some 20 trials to be there. ``important``: the importance, if it is known already.
    """
    matrix = build_trial_matrix(data)
    if not len(matrix):
        return Convergence(
            False, False, False, 0, patience, None, {}, None, ("no trial has a value yet",), matrix.warning
        )
    since = len(matrix) - 1 - int(matrix.order[0])
    stalled = since >= patience
    spreads = {name: s for name in matrix.parameters if (s := spread_of(matrix, name, top)) is not None}
    weights = important if important is not None else compute_importance(matrix)
    score = _weighted(spreads, weights)
    sure = any(s.chance < _SURE / len(spreads) for s in spreads.values())
    concentrated = score is not None and score <= _CONCENTRATED and sure
    gain = compute_gain(matrix, learns=data.spec.method_info.learns)
    reasons = (_of_stall(since, patience), *_of_spread(spreads, score, concentrated, top), *_of_gain(gain, matrix))
    enough = len(matrix) >= FEW
    return Convergence(
        stalled and concentrated and enough,
        stalled,
        concentrated,
        since,
        patience,
        score,
        spreads,
        gain,
        reasons,
        matrix.warning,
    )


def best_positions(matrix: TrialMatrix, top: float) -> NDArray[np.int64]:
    """The positions of the best ``top`` of the trials, five at least where there are as many."""
    return matrix.order[: min(len(matrix), max(_LEAST_BEST, math.ceil(top * len(matrix))))]


def spread_of(matrix: TrialMatrix, name: str, top: float) -> Spread | None:
    """How the best ``top`` of the trials lie in a parameter's range; None: fewer than three of them have it."""
    chosen = best_positions(matrix, top)
    chosen = chosen[matrix.having(name)[chosen]]
    if len(chosen) < 3:
        return None
    rng = np.random.default_rng(0)
    shape = (_DRAWS, len(chosen))
    if matrix.is_ordered(name):
        at = matrix.coordinates(name)[chosen]
        places = _places(matrix, name)
        drawn = rng.random(shape) if places is None else places[rng.integers(len(places), size=shape)]
        measured, random = float(at.std()), drawn.std(axis=1)
    else:
        count = len(matrix.parameters[name].values or ())
        measured = float(_entropy(matrix.codes(name)[chosen][None], count)[0])
        random = _entropy(rng.integers(count, size=shape), count)
    usual = float(np.mean(random))
    return Spread(measured / usual if usual else 1.0, float(np.mean(random <= measured + 1e-12)), len(chosen))


def _places(matrix: TrialMatrix, name: str) -> NDArray[np.float64] | None:
    """Where the values of a list of numbers, or of few integers, lie; None: anywhere."""
    parameter = matrix.parameters[name]
    if parameter.values is not None:
        count = len({float(value) for value in parameter.values})
    elif parameter.distribution == "int_uniform" and parameter.ppf(1.0) - parameter.ppf(0.0) < 50:
        count = parameter.ppf(1.0) - parameter.ppf(0.0) + 1
    else:
        return None
    return (np.arange(count) + 0.5) / count


def _entropy(codes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    shares = np.stack([(codes == k).mean(axis=1) for k in range(count)])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares), 0.0)
    found: NDArray[np.float64] = -terms.sum(axis=0)
    return found


def _weighted(spreads: Mapping[str, Spread], weights: Mapping[str, float]) -> float | None:
    known = {name: weights.get(name, 0.0) for name in spreads}
    total = sum(known.values())
    if not known or total <= 0:
        return None
    return sum(spreads[name].ratio * weight for name, weight in known.items()) / total


def _of_stall(since: int, patience: int) -> str:
    if since >= patience:
        return f"the best has not improved in the last {since} trials ({patience} count as a standstill)"
    ago = f"{since} trials ago" if since != 1 else "one trial ago"
    return f"the best was found {ago if since else 'by the last trial'}; {patience} without progress are a standstill"


def _of_spread(spreads: Mapping[str, Spread], score: float | None, concentrated: bool, top: float) -> list[str]:
    if score is None:
        return ["whether the best trials lie together cannot be told"]
    tightest = min(spreads, key=lambda name: (spreads[name].chance, spreads[name].ratio))
    if concentrated:
        verdict = "concentrate in a region"
    elif score <= _CONCENTRATED:
        verdict = "lie together, but not more surely than chance may put them"
    else:
        verdict = "are still scattered"
    return [
        f"the best {top:.0%} of the trials {verdict}: they spread over {score:.0%} of what random ones do, weighted by "
        f"importance ({_SHOWN_LIMIT}); tightest in {tightest}, {spreads[tightest].ratio:.0%}"
    ]


_SHOWN_LIMIT = f"{_CONCENTRATED:.0%} or less is concentrated"


def _of_gain(gain: Gain, matrix: TrialMatrix) -> list[str]:
    amount = "" if gain.expected is None else f", expected to improve {matrix.metric} by {gain.expected:.3g} in all"
    return [f"{gain.more} more trials beat the best with a chance of {gain.chance:.0%}{amount} ({gain.basis})"]
