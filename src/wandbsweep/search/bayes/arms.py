"""What the next epochs are worth: those of a new trial, or more of a frozen one.

The model over configurations and iterations (``gp``) draws the final values of all trials that have not finished,
jointly. In each draw the best trial is worth its lead over the second best: so much worse would the sweep end without
it. The mean over the draws is what a trial is worth, its expected improvement over all others, finished or not. A new
trial is worth its expected improvement over all of them. The worth is divided by the cost of finding out more: the
iterations to the next rung. DyHPO (Wistuba, Kadra, Grabocka 2022) is a relative: it compares the expected improvement
of one more step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wandbsweep.search.bayes.acquisition import Acquisition, cross, step
from wandbsweep.search.bayes.curves import TrainingSet, make_training_set
from wandbsweep.search.bayes.gp import Posterior, condition, fit
from wandbsweep.search.bayes.model import GOOD, initial_trials
from wandbsweep.search.bayes.space import Floats, Space
from wandbsweep.search.bayes.success import Success
from wandbsweep.search.bayes.threads import one_blas_thread
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import TrialRecord

DRAWS = 64
"""How many joint draws of the final values there are."""
CANDIDATES = 100
"""How many new configurations are compared for each of the best trials."""
ENOUGH = 0.01
"""If nothing new may start, no trial is taken up that is worth less, in standard deviations of the values."""
COST_POWER = 1.0
"""The power of the cost by which the worth is divided."""
MOST = 200
"""If there are more trials, those are left out that have least to do with the decision."""


def choose_arm(spec: SweepSpec, trials: Sequence[TrialRecord], rungs: Sequence[int], *, may_start: bool) -> int | None:
    """Return the number of the frozen trial whose next epochs are worth most; None: a new trial's are, or none's.

    Args:
        spec: The sweep, with one metric.
        trials: All trials, some of them frozen.
        rungs: The iterations, ascending, at which a trial may be frozen, and the length of a whole trial.
        may_start: Whether a new trial may be started.
    """
    space = Space(spec.parameters, spec.constraints)
    if may_start and (not space.dims or len(trials) < initial_trials(space.dims)):
        return None
    known = _pick_relevant([trial for trial in trials if trial.params], spec)
    success = Success(space, known)
    data = make_training_set(space, known, spec.metric or Metric(""), failures_are_modelled=success.is_modelled)
    if data is None:
        return None
    # The same trials give the same answer, whichever agent asks.
    rng = np.random.default_rng([len(trials), sum(len(trial.reports) for trial in trials)])
    with one_blas_thread():
        squares = space.differences(data.x, data.x)
        p = fit(squares, data.sample)
        normals = rng.standard_normal((DRAWS, len(data.pending)))
        posterior = condition(squares, data.seen, data.pending, p, normals)
        lowest = {int(i): float(z) for i, z in zip(data.seen.trial, data.seen.z, strict=True)}
        whole = [i for i, trial in enumerate(known) if trial.state == "finished" and i in lowest]
        best_whole = min((lowest[i] for i in whole), default=np.inf)
        drawn = posterior.drawn
        if (spec.metric or Metric("")).value == "best":  # no trial ends worse than it is
            drawn = np.minimum(drawn, np.array([lowest.get(i, np.inf) for i in data.pending.tolist()])[:, None])
        leads = _compute_leads(np.vstack([drawn, np.full((1, DRAWS), best_whole)]))[:-1].mean(1)
        worth: dict[int, float] = {}
        costs: dict[int, int] = {}
        for row, i in enumerate(data.pending.tolist()):
            if known[i].state == "frozen" and known[i].value is not None:
                length = len(known[i].reports)
                cost = next((rung for rung in rungs if rung > length), length + 1) - length
                costs[known[i].number], worth[known[i].number] = cost, float(leads[row])
        if not worth:
            return None
        if not may_start:
            return _finish(known, data, drawn, worth, best_whole)
        number = max(worth, key=lambda n: worth[n] / costs[n] ** COST_POWER)
        order = np.argsort(np.concatenate([drawn.mean(1), [lowest[i] for i in whole]]), kind="stable")
        good = data.x[np.concatenate([data.pending, np.array(whole, dtype=np.int64)])[order[:GOOD]]]
        posterior = replace(posterior, drawn=drawn)
        new = _estimate_new(spec, space, data, posterior, good, best_whole, success, rng)
        return number if worth[number] / costs[number] ** COST_POWER > new / rungs[0] ** COST_POWER else None


def _compute_leads(values: Floats) -> Floats:
    """Return by how much each value (n, draws) of a draw is below all others: 0 for all but the lowest one."""
    if len(values) < 2:
        return np.full(values.shape, np.inf)
    lowest, second = np.partition(values, 1, axis=0)[:2]
    return np.where(values == lowest, second - values, 0.0)


def _estimate_new(
    spec: SweepSpec,
    space: Space,
    data: TrainingSet,
    posterior: Posterior,
    good: Floats,
    best_whole: float,
    success: Success,
    rng: np.random.Generator,
) -> float:
    """Return the expected improvement of a new trial over all others, as the search method would choose it."""
    acquisition = Acquisition(space, data.x, posterior, best_whole, [success])
    if not spec.method_info.learns:
        return float(np.exp(acquisition(space.draw(CANDIDATES * GOOD, rng))).mean())
    base = np.repeat(good, CANDIDATES, axis=0)
    pool = np.concatenate([cross(space, base, rng), step(space, base, 0.02, rng), step(space, base, 0.1, rng)])
    return float(np.exp(acquisition(pool).max()))


def _finish(
    known: Sequence[TrialRecord], data: TrainingSet, drawn: Floats, worth: dict[int, float], best_whole: float
) -> int | None:
    """Return the trial to take up if no new one may start: the one that ends best, then those that might be better."""
    means = drawn.mean(1)
    best = known[int(data.pending[int(means.argmin())])].number
    if best in worth and means.min() < best_whole:
        return best
    number = max(worth, key=lambda n: worth[n])
    return number if worth[number] > ENOUGH else None


def _pick_relevant(trials: Sequence[TrialRecord], spec: SweepSpec) -> list[TrialRecord]:
    """Return at most about `MOST` trials: those that run, and of the others the best ones and the newest ones."""
    if len(trials) <= MOST:
        return list(trials)
    sign = -1.0 if spec.goal == "maximize" else 1.0
    running = {t.number for t in trials if t.state == "running"}
    ranked = sorted((t for t in trials if t.value is not None), key=lambda t: sign * (t.value or 0.0))
    best = {t.number for t in ranked[: 3 * MOST // 4]}
    newest = {t.number for t in trials[-MOST // 4 :]}
    return [t for t in trials if t.number in running | best | newest]
