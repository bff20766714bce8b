"""Several metrics: which trials are best when no other is better in everything, and how bayes searches for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import TrialRecord

if TYPE_CHECKING:
    import numpy as np

RHO = 0.05
"""The weight of the sum beside the maximum in the augmented Tchebycheff function (Knowles, 2006)."""


def front(trials: Sequence[TrialRecord], metrics: Sequence[Metric]) -> list[TrialRecord]:
    """The trials that no other dominates: is as good in every metric, and better in one. By number.

    Only trials that ended with a value of every metric count: the last one that each reported, since the best ones of
    different epochs were never there together.
    """
    losses = {t.number: loss for t in trials if (loss := _losses(t, metrics)) is not None}
    best = {n for n, loss in losses.items() if not any(_dominates(other, loss) for other in losses.values())}
    return [trial for trial in trials if trial.number in best]


def scalarised(
    spec: SweepSpec, trials: Sequence[TrialRecord], rng: np.random.Generator
) -> tuple[SweepSpec, list[TrialRecord]]:
    """The same search with one metric to minimise: a random weighting of all, as in ParEGO.

    J. Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
    optimization problems", IEEE Transactions on Evolutionary Computation 10(1), 2006. Each choice draws weights of its
    own, so that many choices cover the whole front.
    """
    weights = rng.dirichlet([1.0] * len(spec.metrics))
    losses = {trial.number: _losses(trial, spec.metrics) for trial in trials}
    known = [loss for loss in losses.values() if loss is not None]
    lows = [min(column) for column in zip(*known, strict=True)]
    spans = [max(column) - min(column) or 1.0 for column in zip(*known, strict=True)]

    def weighed(loss: Sequence[float]) -> float:
        terms = [w * (x - low) / span for w, x, low, span in zip(weights, loss, lows, spans, strict=True)]
        return float(max(terms) + RHO * sum(terms))

    single = dataclasses.replace(spec, metric=Metric("scalarised", "minimize"), metrics=())
    replaced = []
    for trial in trials:
        loss = losses[trial.number]
        value = None if loss is None else weighed(loss)
        replaced.append(dataclasses.replace(trial, value=value, reports={} if value is None else {0: value}))
    return single, replaced


def _losses(trial: TrialRecord, metrics: Sequence[Metric]) -> list[float] | None:
    """The trial's values, smaller is better; None: it has not ended well, or lacks one."""
    from wandbsweep.trial import is_number

    values: list[Any] = [trial.metrics.get(metric.name) for metric in metrics]
    if trial.state not in ("finished", "stopped") or not all(map(is_number, values)):
        return None
    return [-v if m.goal == "maximize" else v for v, m in zip(values, metrics, strict=True)]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
