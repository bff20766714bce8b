"""Bayesian search as a pure function: from a sweep's configuration and all its trials to the next configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wandbsweep.search.bayes.acquisition import Acquisition, Chance, cross, is_apart, maximise
from wandbsweep.search.bayes.belief import Belief
from wandbsweep.search.bayes.curves import make_training_set
from wandbsweep.search.bayes.feasibility import Feasibility
from wandbsweep.search.bayes.gp import condition, fit
from wandbsweep.search.bayes.novelty import Novelty
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.search.bayes.success import Success, mark_failures
from wandbsweep.search.bayes.survival import Survival
from wandbsweep.search.bayes.threads import one_blas_thread
from wandbsweep.search.bayes.transfer import EarlierSweep, Transfer
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import ENDED, FAILED, SUCCEEDED, TrialRecord, is_number

FANTASIES = 32
"""Over how many guesses of the running trials' final values to average."""
GOOD = 5
"""How many of the best trials new candidates start from."""
EXHAUSTED = 0.01
"""A region is exhausted if its best ask is expected to gain less than this share of the distance from the best to the
median value."""
REGIONS = 3
"""How many regions may be exhausted before an ask goes where no trial was."""
NEAR = 0.01
"""A small step along a column; the unit cube has side 1."""


def suggest(
    spec: SweepSpec,
    trials: Sequence[TrialRecord],
    *,
    rng: np.random.Generator,
    earlier: Sequence[EarlierSweep] = (),
) -> dict[str, Any]:
    """Suggest the next configuration: flat name -> plain Python value.

    The same arguments and state of ``rng`` give the same configuration.

    Args:
        spec: The sweep's configuration, with one metric.
        trials: Every trial so far, in any state; those without parameters yet are ignored.
        rng: The source of all random numbers.
        earlier: The models of the sweeps that ``spec.prior`` names.
    """
    space = Space(spec.parameters, spec.constraints, spec.zip)
    if not space.dims:
        return space.decode(np.zeros(0))
    known = mark_failures(trials)
    with one_blas_thread():
        return space.decode(_propose(spec, space, known, rng, earlier))


def vary(
    spec: SweepSpec,
    trials: Sequence[TrialRecord],
    *,
    rng: np.random.Generator,
    earlier: Sequence[EarlierSweep] = (),
) -> dict[str, Any]:
    """Suggest without the model, which takes no time: a good configuration with some parameters drawn at random.

    The other parameters move a little, so that agents which ask at the same moment get different configurations. If no
    trial has ended yet, the result is a configuration far from all others. The arguments are those of ``suggest``.
    """
    space = Space(spec.parameters, spec.constraints, spec.zip)
    if not space.dims:
        return space.decode(np.zeros(0))
    known = [trial for trial in trials if trial.params]
    good = _encode_trials(space, _pick_good(known, spec))
    if not len(good) and earlier:
        transfer = Transfer(space, spec.metric or Metric(""), earlier, known)
        good = transfer.rank_first(_encode_trials(space, known), rng)[:GOOD]
    if not len(good):
        return space.decode(fill(space, _encode_trials(space, known), rng))
    varied = cross(space, good[rng.integers(0, len(good), 30)], rng)
    # The sides of the cube reflect a step.
    moved = 1 - np.abs(1 - np.abs(varied + NEAR * rng.standard_normal(varied.shape)))
    tried = [] if space.continuous else known  # two draws from an interval are never the same
    candidates = space.snap(np.where(space.searched, moved, varied))
    return space.decode(pick_new(space, candidates, _encode_trials(space, tried), rng))


def _pick_good(trials: Sequence[TrialRecord], spec: SweepSpec) -> list[TrialRecord]:
    """Return the best trials, feasible ones first; none if no trial has ended with a value yet."""
    valued = [t for t in trials if t.value is not None and is_number(t.value) and t.state not in FAILED]
    if not any(trial.state in ENDED for trial in valued):
        return []
    sign = spec.sign
    return sorted(valued, key=lambda t: (bool(spec.describe_infeasibility(t)), sign * (t.value or 0.0)))[:GOOD]


def _propose(
    spec: SweepSpec,
    space: Space,
    trials: Sequence[TrialRecord],
    rng: np.random.Generator,
    earlier: Sequence[EarlierSweep],
) -> Floats:
    tried = _encode_trials(space, trials)
    metric = spec.metric or Metric("")
    transfer = Transfer(space, metric, earlier, trials) if earlier else None
    if len(trials) < initial_trials(space.dims):
        if transfer and transfer.is_next:
            return pick_new(space, transfer.rank_first(tried, rng), tried, rng)
        return fill(space, tried, rng)
    belief = Belief(space, spec.prior.expect, len(tried)) if spec.prior and spec.prior.expect else None
    success = Success(space, trials)
    data = make_training_set(space, trials, metric, failures_are_modelled=success.is_modelled)
    if data is None:
        return fill(space, tried, rng)
    # With the hyperparameters fixed at their most probable values, the running trials' final values are drawn, and each
    # draw becomes a fantasy in which they are known.
    squares = space.differences(data.x, data.x)
    p = fit(squares, data.sample)
    normals = rng.standard_normal((FANTASIES if len(data.pending) else 1, len(data.pending)))
    posterior = condition(squares, data.seen, data.pending, p, normals)
    novelty = _novelty(space, trials, data.x)
    rivals, good = data.ranked, data.ranked
    chances: list[Chance] = [novelty, success, *([belief] if belief else []), *([transfer] if transfer else [])]
    if spec.limits:
        feasibility = Feasibility(space, spec.limits, trials)
        rivals, good = feasibility.rank(data)
        chances.append(feasibility)
    # A region in which the model expects next to nothing more is left for the best trials of other regions, and those
    # need only become better than each other. Every other ask goes on there, in case the model is wrong.
    survival = Survival(space, spec, trials)
    exhausted: list[int] = []
    rivals = np.concatenate([rivals, data.pending]) if len(rivals) else rivals
    while len(good) and len(exhausted) < REGIONS:
        best = np.full(len(normals), data.seen.z.max() + 1.0)  # as long as no trial is feasible, any value is better
        if len(rivals):
            best = posterior.at(space.differences(data.x[rivals], data.x))[0].min(0)
        acquisition = Acquisition(space, data.x, posterior, best, chances)
        starts = data.x[good[:GOOD]]
        if transfer:
            starts = np.concatenate([starts, transfer.rank_first(tried, rng)[:GOOD]])
        ranked = maximise(acquisition, starts, rng, survival, novelty.repeats, data.x[exhausted])
        if len(trials) % 2 or acquisition.log_improvement(ranked[:1])[0] > np.log(EXHAUSTED * data.unit):
            return pick_new(space, ranked, tried, rng)
        exhausted.append(good[0])
        good, rivals = (rows[is_apart(space, data.x[rows], data.x[exhausted])] for rows in (good, rivals))
    return fill(space, tried, rng)


def _encode_trials(space: Space, trials: Sequence[TrialRecord]) -> Floats:
    return np.stack([space.encode(t.params) for t in trials]) if trials else np.zeros((0, space.dims))


def _novelty(space: Space, trials: Sequence[TrialRecord], x: Floats) -> Novelty:
    values = {i: t.value for i, t in enumerate(trials) if t.state in SUCCEEDED and t.value is not None}
    running = [i for i, t in enumerate(trials) if t.state not in ENDED]
    return Novelty(space, x[[*values, *running]], list(values.values()))


def initial_trials(dims: int) -> int:
    """Return how many configurations are spread over the space before the model is used."""
    return min(dims // 2 + 1, 8)


def fill(space: Space, tried: Floats, rng: np.random.Generator, *, draws: int = 256) -> Floats:
    """Return the random point that is furthest from all tried ones (best-candidate sampling).

    Opposite sides of the cube count as joined, so that corners are not preferred.

    Args:
        space: The space.
        tried: The points (n, columns) of the trials so far.
        rng: The source of all random numbers.
        draws: How many random points to choose from.
    """
    drawn = space.draw(draws, rng)
    if not len(tried):
        return pick_new(space, space.snap(drawn[:1]), tried, rng)
    delta = np.sqrt(space.differences(drawn, tried))
    numeric = ~space.categorical
    delta[numeric] = np.minimum(delta[numeric], 1 - delta[numeric])
    distance = (delta**2).sum(0).min(1)
    return pick_new(space, space.snap(drawn[np.argsort(-distance, kind="stable")[:30]]), tried, rng)


def pick_new(space: Space, ranked: Floats, tried: Floats, rng: np.random.Generator) -> Floats:
    """Return the first of the ranked points that meets the constraints and was not tried.

    If there is none, any other point of the space is returned, and if the space has none left, the first.

    Args:
        space: The space.
        ranked: Candidates (n, columns), best first.
        tried: The points of the trials so far.
        rng: The source of all random numbers.
    """
    seen = {row.tobytes() for row in tried.round(12)}
    row: Floats
    allowed = ranked[space.meets_constraints(ranked)]
    for row in allowed:
        if row.round(12).tobytes() not in seen:
            return row
    if len(seen) < space.size:
        for row in space.snap(space.draw(2000, rng)):
            if row.round(12).tobytes() not in seen:
                return row
    best: Floats = (allowed if len(allowed) else space.snap(space.draw(1, rng)))[0]
    return best
