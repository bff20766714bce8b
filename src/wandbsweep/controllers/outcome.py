"""What an attempt comes to when it ends: the trial's state and value, and what Optuna is to call it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

from wandbsweep.controllers.trial_table import StoredOutcome, best_of
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import Outcome, State, as_number, is_number

_OPTUNA_STATE: Mapping[State, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "crashed": TrialState.FAIL,
    "queued": TrialState.FAIL,
}


def settled(
    spec: SweepSpec, outcome: Outcome, *, reports: Sequence[float], metrics: Mapping[str, float]
) -> StoredOutcome:
    """A trial's value: the best one that it reported, else the number that its task returned.

    ``metrics``: the last value of each metric that it reported. Without what the sweep optimises it has failed, and
    every other trial of the same script will.
    """
    returned = as_number(outcome.returned)
    value = best_of(reports, spec.goal)
    if value is None and is_number(returned):
        value = returned
    state, reason, hopeless = outcome.state, outcome.reason, False
    if state == "finished" and (lacking := _lacking(spec, metrics, bool(reports), returned)):
        state, hopeless = "failed", True
        reason = _no_metric(lacking, metrics)
    return StoredOutcome(state=state, reason=reason, value=value, metrics=metrics, hopeless=hopeless)


def in_optuna(spec: SweepSpec, outcome: StoredOutcome) -> tuple[TrialState, list[float] | None]:
    """The state and the values of Optuna's trial."""
    state, values = _OPTUNA_STATE[outcome["state"]], None
    if spec.metrics:
        found = [outcome["metrics"].get(metric.name, math.nan) for metric in spec.metrics]
        values = found if all(map(is_number, found)) else None
    elif outcome["value"] is not None:
        values = [outcome["value"]]
    if values is None and state == TrialState.COMPLETE:
        state = TrialState.FAIL  # as Optuna calls a trial without a value
    return state, values


def _lacking(spec: SweepSpec, metrics: Mapping[str, float], reported: bool, returned: float | None) -> list[str]:
    """The metrics that the sweep optimises and that a trial never gave."""
    if spec.metrics:
        return [metric.name for metric in spec.metrics if metric.name not in metrics]
    return [spec.metric.name] if spec.metric and not reported and returned is None else []


def _no_metric(names: Sequence[str], seen: Mapping[str, float]) -> str:
    logged = ", ".join(sorted(seen)) if seen else "nothing"
    wanted = " and ".join(map(repr, names))
    return f"the metric {wanted} was never reported and the task returned no number; reported: {logged}"
