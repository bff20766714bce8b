"""How the trials of a sweep will end: joint draws of the final values that the model expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wandbsweep.search.bayes.curves import TrainingSet, make_training_set
from wandbsweep.search.bayes.gp import Posterior, condition, fit
from wandbsweep.search.bayes.space import Space
from wandbsweep.search.bayes.success import Success, mark_failures
from wandbsweep.search.bayes.threads import one_blas_thread
from wandbsweep.spec.limits import are_violated
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import TrialRecord

MOST = 200
"""If there are more trials, those are left out that tell least."""


@dataclass(frozen=True)
class Endings:
    """Draws of the final values of all trials that run or are frozen, on the model's scale, to be minimised."""

    space: Space
    trials: Sequence[TrialRecord]
    data: TrainingSet
    """Its rows are `trials`."""
    posterior: Posterior
    """Its ``drawn`` (pending, draws) are the final values of the rows ``data.pending``."""
    finished: dict[int, float]
    """By row, the value of each trial that finished."""
    success: Success

    @property
    def best(self) -> float:
        """The best value of a trial that finished; infinite if none has."""
        return min(self.finished.values(), default=np.inf)

    def rank(self) -> list[int]:
        """Return the rows of all trials, the one first that is expected to end best."""
        expected = dict(zip(self.data.pending.tolist(), self.posterior.drawn.mean(1).tolist(), strict=True))
        return sorted(expected | self.finished, key=(expected | self.finished).__getitem__)


def draw_endings(
    spec: SweepSpec, trials: Sequence[TrialRecord], rng: np.random.Generator, *, draws: int
) -> Endings | None:
    """Draw the final values; None: no trial has a value yet, or there is nothing to search.

    Args:
        spec: The sweep, with one metric.
        trials: All trials.
        rng: The source of all random numbers.
        draws: How many joint draws to make.
    """
    metric = spec.metric or Metric("")
    space = Space(spec.parameters, spec.constraints, spec.zip)
    known = _pick_relevant(mark_failures(trials), spec)
    if not space.dims:
        return None
    with one_blas_thread():
        success = Success(space, known)
        data = make_training_set(space, known, metric, failures_are_modelled=success.is_modelled)
        if data is None:
            return None
        squares = space.differences(data.x, data.x)
        normals = rng.standard_normal((draws, len(data.pending)))
        posterior = condition(squares, data.seen, data.pending, fit(squares, data.sample), normals)
    newest = {int(i): float(z) for i, z in zip(data.seen.trial, data.seen.z, strict=True)}
    if metric.value == "best":  # no trial ends worse than it is
        now = np.array([newest.get(i, np.inf) for i in data.pending.tolist()])
        posterior = replace(posterior, drawn=np.minimum(posterior.drawn, now[:, None]))
    infeasible = {
        i
        for i, trial in enumerate(known)
        if are_violated(spec.limits, trial.metrics)
        or (trial.state == "finished" and spec.describe_infeasibility(trial))  # others may still report what is limited
    }
    posterior.drawn[np.isin(data.pending, list(infeasible))] = np.inf  # it never becomes the best
    ended = (i for i, trial in enumerate(known) if trial.state == "finished" and i in newest and i not in infeasible)
    finished = {i: newest[i] for i in ended}
    return Endings(space, known, data, posterior, finished, success)


def _pick_relevant(trials: Sequence[TrialRecord], spec: SweepSpec) -> list[TrialRecord]:
    """Return at most about `MOST` trials: those that run, and of the others the best ones and the newest ones."""
    if len(trials) <= MOST:
        return list(trials)
    sign = spec.sign
    running = {t.number for t in trials if t.state == "running"}
    ranked = sorted((t for t in trials if t.value is not None), key=lambda t: sign * (t.value or 0.0))
    best = {t.number for t in ranked[: 3 * MOST // 4]}
    newest = {t.number for t in trials[-MOST // 4 :]}
    return [t for t in trials if t.number in running | best | newest]
