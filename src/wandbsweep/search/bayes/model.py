"""Bayesian search as a pure function: the sweep's specification and all its trials in, the next
configuration out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wandbsweep.search.bayes.acquisition import Acquisition, crossed, maximise
from wandbsweep.search.bayes.curves import gather
from wandbsweep.search.bayes.gp import condition, fit
from wandbsweep.search.bayes.novelty import Novelty
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.search.bayes.survival import Survival
from wandbsweep.search.bayes.threads import one_blas_thread
from wandbsweep.spec.sweep_spec import Goal, Metric, SweepSpec
from wandbsweep.trial import ENDED, TrialRecord, is_number

__all__ = ["suggest", "vary"]

FANTASIES = 32
"""So many guesses of what the running trials will come to."""
GOOD = 5
"""So many of the best trials are what others start from."""
NEAR = 0.01
"""A little, along a column; the unit cube has side 1."""


def suggest(spec: SweepSpec, trials: Sequence[TrialRecord], *, rng: np.random.Generator) -> dict[str, Any]:
    """The next configuration, flat name -> plain Python value, given every trial so far in any state.

    Trials without parameters (another agent is still choosing) are ignored. The same specification, trials
    and state of ``rng`` give the same configuration.
    """
    space = Space(spec.parameters)
    if not space.dims:
        return space.decode(np.zeros(0))
    known = [trial for trial in trials if trial.params]
    with one_blas_thread():
        return space.decode(_choose(spec, space, known, rng))


def vary(spec: SweepSpec, trials: Sequence[TrialRecord], *, rng: np.random.Generator) -> dict[str, Any]:
    """One of the best configurations with some parameters drawn anew, in no time: ``suggest`` without the model.

    The others are moved a little, so that who chooses at the same moment chooses something else. Where none has ended
    yet, a configuration far from all others.
    """
    space = Space(spec.parameters)
    if not space.dims:
        return space.decode(np.zeros(0))
    known = [trial for trial in trials if trial.params]
    good = _good(known, spec.goal)
    if not good:
        return space.decode(fill(space, _encoded(space, known), rng))
    varied = crossed(space, _encoded(space, good)[rng.integers(0, len(good), 30)], rng)
    moved = 1 - np.abs(1 - np.abs(varied + NEAR * rng.standard_normal(varied.shape)))  # sides of the cube reflect
    tried = [] if space.continuous else known  # elsewhere nothing comes twice
    return space.decode(
        first_new(space, space.snap(np.where(space.searched, moved, varied)), _encoded(space, tried), rng)
    )


def _good(trials: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """The best trials, best first; none while no trial has ended with a value."""
    valued = [t for t in trials if t.value is not None and is_number(t.value) and t.state not in ("failed", "crashed")]
    if not any(trial.state in ENDED for trial in valued):
        return []
    return sorted(valued, key=lambda trial: trial.value or 0.0, reverse=goal == "maximize")[:GOOD]


def _choose(spec: SweepSpec, space: Space, trials: Sequence[TrialRecord], rng: np.random.Generator) -> Floats:
    tried = _encoded(space, trials)
    if len(trials) < initial_trials(space.dims):
        return fill(space, tried, rng)
    metric = spec.metric or Metric("")
    evidence = gather(space, trials, metric)
    if evidence is None:
        return fill(space, tried, rng)
    squares = space.differences(evidence.x, evidence.x)
    p = fit(squares, evidence.sample)
    normals = rng.standard_normal((FANTASIES if len(evidence.pending) else 1, len(evidence.pending)))
    posterior = condition(squares, evidence.seen, evidence.pending, p, normals)
    acquisition = Acquisition(space, evidence.x, posterior, evidence.best, _novelty(space, trials, evidence.x))
    survival = Survival(space, spec, trials)
    ranked = maximise(acquisition, evidence.x[evidence.ranked[:GOOD]], rng, survival)
    return first_new(space, ranked, tried, rng)


def _encoded(space: Space, trials: Sequence[TrialRecord]) -> Floats:
    return np.stack([space.encode(t.params) for t in trials]) if trials else np.zeros((0, space.dims))


def _novelty(space: Space, trials: Sequence[TrialRecord], x: Floats) -> Novelty:
    values = {i: t.value for i, t in enumerate(trials) if t.state in ("finished", "stopped") and t.value is not None}
    running = [i for i, t in enumerate(trials) if t.state not in ENDED]
    return Novelty(space, x[[*values, *running]], list(values.values()))


def initial_trials(dims: int) -> int:
    """How many configurations are spread over the space before the model is believed."""
    return min(dims // 2 + 1, 8)


def fill(space: Space, tried: Floats, rng: np.random.Generator, *, draws: int = 256) -> Floats:
    """Of random points the one furthest from all `tried` (best-candidate sampling), the sides of the cube
    joined, so that corners are not preferred."""
    drawn = space.draw(draws, rng)
    if not len(tried):
        return first_new(space, space.snap(drawn[:1]), tried, rng)
    delta = np.sqrt(space.differences(drawn, tried))
    numeric = ~space.categorical
    delta[numeric] = np.minimum(delta[numeric], 1 - delta[numeric])
    distance = (delta**2).sum(0).min(1)
    return first_new(space, space.snap(drawn[np.argsort(-distance, kind="stable")[:30]]), tried, rng)


def first_new(space: Space, ranked: Floats, tried: Floats, rng: np.random.Generator) -> Floats:
    """The first of `ranked` that was not tried. Where there is none: any other while the space has one,
    else the first."""
    seen = {row.tobytes() for row in tried.round(12)}
    row: Floats
    for row in ranked:
        if row.round(12).tobytes() not in seen:
            return row
    if len(seen) < space.size:
        for row in space.snap(space.draw(2000, rng)):
            if row.round(12).tobytes() not in seen:
                return row
    best: Floats = ranked[0]
    return best
