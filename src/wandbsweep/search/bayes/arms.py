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

import numpy as np

from wandbsweep.search.bayes.acquisition import REACH, Acquisition, climb, cross, step
from wandbsweep.search.bayes.endings import Endings, draw_endings
from wandbsweep.search.bayes.model import GOOD, initial_trials
from wandbsweep.search.bayes.space import Floats
from wandbsweep.spec.limits import are_violated
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord

DRAWS = 64
"""How many joint draws of the final values there are."""
CANDIDATES = 100
"""How many new configurations are compared for each of the best trials."""
ENOUGH = 0.01
"""If nothing new may start, no trial is taken up that is worth less, in standard deviations of the values."""
WHOLE = 0.2
"""About this share of all iterations goes into whole trials, as long as the trial that is expected to end best is not
whole. Without whole trials the model could not tell that it is wrong about how curves end."""
COST_POWER = 1.0
"""The power of the cost by which the worth is divided."""


def choose_arm(spec: SweepSpec, trials: Sequence[TrialRecord], rungs: Sequence[int], *, may_start: bool) -> int | None:
    """Return the number of the frozen trial whose next epochs are worth most; None: a new trial's are, or none's.

    Args:
        spec: The sweep, with one metric.
        trials: All trials, some of them frozen.
        rungs: The iterations, ascending, at which a trial may be frozen, and the length of a whole trial.
        may_start: Whether a new trial may be started.
    """
    # The same trials give the same answer, whichever agent asks.
    rng = np.random.default_rng([len(trials), sum(len(trial.reports) for trial in trials)])
    endings = draw_endings(spec, trials, rng, draws=DRAWS)
    if endings is None or not endings.space.dims or (may_start and len(trials) < initial_trials(endings.space.dims)):
        return None
    drawn = endings.posterior.drawn
    leads = _compute_leads(np.vstack([drawn, np.full((1, drawn.shape[1]), endings.best)]))[:-1].mean(1)
    worth: dict[int, float] = {}
    price: dict[int, float] = {}
    for row, lead in zip(endings.data.pending.tolist(), leads.tolist(), strict=True):
        trial = endings.trials[row]
        if trial.state == "frozen" and trial.value is not None and not are_violated(spec.limits, trial.metrics):
            length = len(trial.reports)
            worth[trial.number] = lead
            price[trial.number] = (next((r for r in rungs if r > length), length + 1) - length) ** COST_POWER
    if not worth:
        return None
    best = endings.trials[endings.rank()[0]].number
    whole = sum(len(trial.reports) for trial in trials if trial.state == "finished")
    if best in worth and whole + rungs[-1] <= WHOLE * sum(len(trial.reports) for trial in trials):
        return best
    if not may_start:  # the best one is trained to its end first
        number = best if best in worth else max(worth, key=lambda n: worth[n])
        return number if number == best or worth[number] > ENOUGH else None
    number = max(worth, key=lambda n: worth[n] / price[n])
    new = _estimate_new(spec, endings, rng) / rungs[0] ** COST_POWER
    return number if worth[number] / price[number] > new else None


def _compute_leads(values: Floats) -> Floats:
    """Return by how much each value (n, draws) of a draw is below all others: 0 for all but the lowest one."""
    if len(values) < 2:
        return np.full(values.shape, np.inf)
    lowest, second = np.partition(values, 1, axis=0)[:2]
    return np.where(values == lowest, second - lowest, 0.0)


def _estimate_new(spec: SweepSpec, endings: Endings, rng: np.random.Generator) -> float:
    """Return the expected improvement of a new trial over all others, as the search method would choose it."""
    space, x = endings.space, endings.data.x
    best = endings.posterior.drawn.min(0, initial=endings.best)
    acquisition = Acquisition(space, x, endings.posterior, best, [endings.success])
    if not spec.method_info.learns:
        return float(np.exp(acquisition(space.draw(CANDIDATES * GOOD, rng))).mean())
    base = np.repeat(x[endings.rank()[:GOOD]], CANDIDATES, axis=0)
    pool = np.concatenate([cross(space, base, rng), step(space, base, 0.02, rng), step(space, base, 0.1, rng)])
    pool = pool[space.meets_constraints(pool)]
    if not len(pool):
        return 0.0
    found = climb(acquisition, pool[int(acquisition(pool).argmax())], REACH)
    return float(np.exp(acquisition(found[None])[0]))
