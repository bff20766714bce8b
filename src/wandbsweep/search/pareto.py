"""Several metrics: the Pareto front of the trials, and the single metric that bayes optimises in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wandbsweep.spec.limits import describe_violations
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import SUCCEEDED, TrialRecord, is_number

if TYPE_CHECKING:
    import numpy as np

RHO = 0.05
"""The weight of the sum, next to the maximum, in the augmented Tchebycheff function (Knowles, 2006)."""


def find_front(trials: Sequence[TrialRecord], metrics: Sequence[Metric]) -> list[TrialRecord]:
    """Return the trials that no other trial dominates, by number; to dominate is to be as good in all, better in one.

    Only feasible trials that ended with a value of every metric count. Their last values are compared, because the
    best values may stem from different epochs, which no single model had.
    """
    limits = [limit for metric in metrics for limit in metric.constraints]
    feasible = [t for t in trials if not describe_violations(limits, t.metrics)]
    losses = {t.number: loss for t in feasible if (loss := _compute_losses(t, metrics)) is not None}
    best = {n for n, loss in losses.items() if not any(_dominates(other, loss) for other in losses.values())}
    return [trial for trial in trials if trial.number in best]


def scalarise(
    spec: SweepSpec, trials: Sequence[TrialRecord], rng: np.random.Generator
) -> tuple[SweepSpec, list[TrialRecord]]:
    """Return the sweep and its trials with one metric to minimise: a random weighting of all, as in ParEGO.

    J. Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
    optimization problems", IEEE Transactions on Evolutionary Computation 10(1), 2006. Every proposal draws new weights,
    so that many proposals cover the whole front.

    Args:
        spec: A sweep with several metrics.
        trials: Its trials.
        rng: The source of the weights.
    """
    weights = rng.dirichlet([1.0] * len(spec.metrics))
    losses = {trial.number: _compute_losses(trial, spec.metrics) for trial in trials}
    known = [loss for loss in losses.values() if loss is not None]
    lows = [min(column) for column in zip(*known, strict=True)]
    spans = [max(column) - min(column) or 1.0 for column in zip(*known, strict=True)]

    def weigh(loss: Sequence[float]) -> float:
        terms = [w * (x - low) / span for w, x, low, span in zip(weights, loss, lows, spans, strict=True)]
        return float(max(terms) + RHO * sum(terms))

    single = dataclasses.replace(spec, metric=Metric("scalarised", "minimize", constraints=spec.limits), metrics=())
    replaced = []
    for trial in trials:
        loss = losses[trial.number]
        value = None if loss is None else weigh(loss)
        replaced.append(dataclasses.replace(trial, value=value, reports={} if value is None else {0: value}))
    return single, replaced


def _compute_losses(trial: TrialRecord, metrics: Sequence[Metric]) -> list[float] | None:
    """Return the trial's values, negated if they are to be maximised; None: it ended without one of them."""
    values: list[Any] = [trial.metrics.get(metric.name) for metric in metrics]
    if trial.state not in SUCCEEDED or not all(map(is_number, values)):
        return None
    return [-v if m.goal == "maximize" else v for v, m in zip(values, metrics, strict=True)]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
