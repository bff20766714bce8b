"""Says in one line why the best trial of a sweep may not be the best."""

from __future__ import annotations

import statistics
from itertools import pairwise

from wandbsweep.results.sweep_data import SweepData
from wandbsweep.trial import TrialRecord, is_number

_MIN_OTHERS = 2
"""A curve with fewer differences, those at its best point left out, does not show its noise."""


def describe_doubt(data: SweepData) -> str:
    """Return why the best trial may not be the best, and what to do about it; empty if nothing suggests so."""
    best, metric = data.best, data.spec.metric
    if best is None or metric is None or data.find_configuration(best) is not None:
        return ""
    reasons = [*_describe_stop(data, best), *_describe_lone_point(data, best)]
    rival = None if data.value_rule == "last" else data.rank_by("last").best
    if rival is not None and rival.number != best.number:
        reasons.append(f"by its last value trial {rival.number} leads ({rival.value:.5g})")
    if not reasons:
        return ""
    advice = f"compare by last values: wandbsweep best {data.sweep_id} --by last"
    if rival is None or rival.number == best.number:
        advice = f"try new seeds: wandbsweep evaluate {data.sweep_id} --top 2"
    return f"Trial {best.number} is in doubt: {'; '.join(reasons)}. To be sure, {advice}"


def find_finished_best(data: SweepData) -> TrialRecord | None:
    """Return the best of the trials that were trained to their end."""
    finished = (t for t in data.ranked if t.state == "finished" and t.value is not None)
    return next((trial for trial in finished if not data.is_infeasible(trial)), None)


def _describe_stop(data: SweepData, best: TrialRecord) -> list[str]:
    if best.state not in ("stopped", "frozen"):
        return []
    when = f" at step {max(best.reports)}" if best.reports else ""
    return [f"it was stopped{when}, so nothing is known of its end"]


def _describe_lone_point(data: SweepData, best: TrialRecord) -> list[str]:
    """Say if one point of the curve makes the lead: it is better than both neighbours by more than the curve's noise.

    The noise is the median of how much the curve changes from one point to the next elsewhere.
    """
    curve = [(step, value) for step, value in sorted(best.reports.items()) if is_number(value)]
    steps = [step for step, _ in curve]
    step = data.find_step(best)
    at = steps.index(step) if step in steps else 0
    if not 0 < at < len(curve) - 1:
        return []
    values = [value for _, value in curve]
    changes = [abs(b - a) for i, (a, b) in enumerate(pairwise(values)) if i not in (at - 1, at)]
    gap = min(abs(values[at] - values[at - 1]), abs(values[at] - values[at + 1]))
    if len(changes) < _MIN_OTHERS or gap <= (noise := statistics.median(changes)):
        return []
    before, after = f"{values[at - 1]:.5g}", f"{values[at + 1]:.5g}"
    return [f"step {step} stands alone in its curve, between {before} and {after} (the curve's noise: {noise:.2g})"]
