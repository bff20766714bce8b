"""The outcome of an attempt, which gives its trial a state and a value."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Self

from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.text import join_words, quote_names
from wandbsweep.trial import Cause, Outcome, State, ValueRule, as_number, is_number

# W&B's clients name what `define_metric(name, summary=...)` computes after its metric.
_SUMMARY = re.compile(r"[./_](max|min|best|mean|first|last)\Z")


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The outcome of a closed attempt, as it is stored just before the attempt is closed."""

    state: State
    """``queued``: the trial is to be continued by another attempt."""
    reason: str = ""
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each metric that the trial reported."""
    fatal: bool = False
    """Whether every other trial will fail in the same way: the script never gives the metric's value."""
    lost: bool = False
    """Whether the attempt's process vanished. ``max_attempts`` counts these attempts."""
    killed: bool = False
    """Whether something outside ended the process, so that neither the script nor the agent's node is to blame."""
    suspect: bool = False
    """Whether the attempt failed, and another agent tries the trial again, because this agent's node may be bad."""

    worked_s: float | None = None
    """How many seconds the attempt's task ran, without its imports; None: not measured."""
    cause: Cause = ""
    """Why the trial failed, if its parameters are to blame."""

    def encode(self) -> dict[str, Any]:
        """Return the outcome as JSON. Two keys keep their first names, so that stored sweeps stay readable."""
        stored: dict[str, Any] = {
            "state": self.state,
            "reason": self.reason,
            "value": self.value,
            "metrics": self.metrics,
            "hopeless": self.fatal,
        }
        if self.worked_s is not None:
            stored["worked_s"] = round(self.worked_s, 3)
        if self.cause:
            stored["cause"] = self.cause
        flags = {"lost": self.lost, "killed": self.killed, "doubted": self.suspect}
        return {**stored, **{name: True for name, value in flags.items() if value}}

    @classmethod
    def decode(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            stored["state"],
            stored["reason"],
            stored["value"],
            stored["metrics"],
            fatal=stored.get("hopeless", False),
            lost=stored.get("lost", False),
            killed=stored.get("killed", False),
            suspect=stored.get("doubted", False),
            worked_s=stored.get("worked_s"),
            cause=stored.get("cause", ""),
        )


def compute_outcome(
    spec: SweepSpec, outcome: Outcome, *, reports: Mapping[int, float], metrics: Mapping[str, float]
) -> StoredOutcome:
    """Compute a trial's state and value from how its task ended.

    The value is the best one that the trial reported (or the last, if the sweep says so), or else the number that its
    task returned. A trial that finished without a value of the metric has failed, and every other trial of the same
    script will fail as well.

    Args:
        spec: The sweep configuration, which names the metric.
        outcome: How the task ended.
        reports: Every value of the metric that the trial reported, by step, of earlier attempts too.
        metrics: The last value of each metric that it reported.
    """
    returned = as_number(outcome.returned)
    value = choose_value(reports, spec.goal, spec.value_rule)
    if find_best_value(reports.values(), spec.goal) is None and is_number(returned):
        value = returned
    metrics = {**metrics, **outcome.metrics}
    state, reason, fatal = outcome.state, outcome.reason, False
    missing = _find_missing_metrics(spec, metrics, reported=bool(reports), returned=returned)
    if state == "finished" and missing:
        state, reason, fatal = "failed", _describe_missing(missing, metrics), True
    return StoredOutcome(state, reason, value, metrics, fatal=fatal, cause=outcome.cause)


def compute_loss(
    spec: SweepSpec,
    reason: str,
    *,
    lost: int,
    max_attempts: int,
    reports: Mapping[int, float] | None = None,
    metrics: Mapping[str, float] | None = None,
    killed: bool = False,
    final: bool = False,
) -> StoredOutcome:
    """Compute the outcome of an attempt whose process vanished: its trial is queued again, or has crashed.

    Args:
        spec: The sweep configuration.
        reason: How the process vanished.
        lost: How many attempts of the trial were lost, this one included.
        max_attempts: The number of lost attempts after which the trial stays crashed.
        reports: Every value of the metric that the trial reported, by step, if they are known.
        metrics: The last value of each metric that it reported, if they are known.
        killed: Whether something outside ended the process.
        final: Whether the trial is never queued again.
    """
    if lost >= max_attempts:
        reason, final = f"{reason}; attempt {lost} of {max_attempts}", True
    value = choose_value(reports or {}, spec.goal, spec.value_rule) if final else None
    return StoredOutcome("crashed" if final else "queued", reason, value, metrics or {}, lost=True, killed=killed)


def choose_value(reports: Mapping[int, float], goal: str, rule: ValueRule) -> float | None:
    """Return the value of a trial with these ``reports``; None: none is finite, or by ``last`` the newest is not.

    Args:
        reports: The values of the metric that it reported, by step.
        goal: The metric's goal.
        rule: Which of the values counts.
    """
    if rule == "last":
        return find_best_value([reports[max(reports)]] if reports else [], goal)
    return find_best_value(reports.values(), goal)


def find_best_value(values: Iterable[float | None], goal: str) -> float | None:
    """Return the best of the finite ``values``, or None if there is none."""
    finite = [value for value in values if value is not None and is_number(value)]
    return (max if goal == "maximize" else min)(finite, default=None)


def _find_missing_metrics(
    spec: SweepSpec, metrics: Mapping[str, float], *, reported: bool, returned: float | None
) -> list[str]:
    """Return the metrics that the sweep optimises and that the trial gave no value of."""
    if spec.metrics:
        return [metric.name for metric in spec.metrics if metric.name not in metrics]
    return [spec.metric.name] if spec.metric and not reported and returned is None else []


def _describe_missing(names: Sequence[str], seen: Mapping[str, float]) -> str:
    wanted = " and ".join(map(repr, names))
    found = describe_reported(names, seen)
    return f"the metric {wanted} was never reported and the task returned no number; {found}"


def describe_reported(wanted: Iterable[str], seen: Collection[str]) -> str:
    """Return which metrics were reported instead of the ``wanted`` ones, and which of them may be meant."""
    meant: dict[str, None] = {}
    of_summary = False
    for name in wanted:
        stem = _SUMMARY.sub("", name)
        is_summary = stem != name and stem in seen
        of_summary |= is_summary
        meant.update(dict.fromkeys([stem] if is_summary else get_close_matches(name, seen, 1)))
    hint = f"; did you mean {join_words(list(map(repr, meant)), 'or')}" if meant else ""
    counts = ", whose best value counts" if of_summary else ""
    return f"reported: {quote_names(seen)}{hint}{counts}{'?' if meant else ''}"
