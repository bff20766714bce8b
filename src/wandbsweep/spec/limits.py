"""``metric.constraints``: limits of what trials report, an extension of W&B's format. ::

    metric: {name: val/loss, constraints: {peak_memory_gb: {max: 40}, latency_ms: {min: 1, max: 20}}}

A trial that ends outside a limit, or without a finite value of a limited metric, is infeasible: it is no best trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.spec.findings import Findings, join_path
from wandbsweep.trial import is_number

_EXAMPLE = "{peak_memory_gb: {max: 40}}"


@dataclass(frozen=True, slots=True)
class Limit:
    """The lowest and the highest value that a feasible trial may have of a metric: its last one."""

    name: str
    min: float | None = None
    max: float | None = None

    def __str__(self) -> str:
        bounds = [f">= {self.min:g}"] if self.min is not None else []
        bounds += [f"<= {self.max:g}"] if self.max is not None else []
        return f"{self.name} {' and '.join(bounds)}"

    def describe_violation(self, metrics: Mapping[str, float]) -> str:
        """Say how a trial with these last values violates the limit; empty: it does not."""
        value = metrics.get(self.name)
        if value is None:
            return f"{self.name} was never reported"
        if not is_number(value):
            return f"{self.name} is {value}"
        if self.max is not None and value > self.max:
            return f"{self.name} {value:.5g} is above {self.max:g}"
        if self.min is not None and value < self.min:
            return f"{self.name} {value:.5g} is below {self.min:g}"
        return ""

    def list_excesses(self, metrics: Mapping[str, float]) -> list[float]:
        """Return by how much a trial exceeds each bound, 0 or less if it does not; the metric must have a value."""
        value = metrics[self.name]
        below = [self.min - value] if self.min is not None else []
        return below + ([value - self.max] if self.max is not None else [])


def describe_violations(limits: Sequence[Limit], metrics: Mapping[str, float]) -> str:
    """Say which limits a trial that ended with these last values violates, and how; empty: none."""
    return ", ".join(filter(None, (limit.describe_violation(metrics) for limit in limits)))


def are_violated(limits: Sequence[Limit], metrics: Mapping[str, float]) -> bool:
    """Return whether values that are known violate a limit; a trial that goes on may still report the others."""
    return any(limit.name in metrics and limit.describe_violation(metrics) for limit in limits)


def list_excesses(limits: Sequence[Limit], metrics: Mapping[str, float]) -> list[float] | None:
    """Return by how much a trial exceeds each bound of each limit; None: it lacks the value of a limited metric."""
    if not all(is_number(metrics.get(limit.name)) for limit in limits):
        return None
    return [excess for limit in limits for excess in limit.list_excesses(metrics)]


def read_limits(findings: Findings, path: str, raw: Any) -> tuple[Limit, ...]:
    """Return the limits that a metric's ``constraints`` hold.

    Args:
        findings: Collects the violations.
        path: The place of the constraints in the configuration.
        raw: Their value.
    """
    if not findings.check_mapping(path, raw, _EXAMPLE):
        return ()
    if not raw:
        findings.refuse(path, f"is empty, but must limit one metric at least: {_EXAMPLE}")
    return tuple(_read_each(findings, path, raw))


def _read_each(findings: Findings, path: str, raw: Mapping[Any, Any]) -> Iterator[Limit]:
    for name, bounds in raw.items():
        here = join_path(path, name)
        if not isinstance(name, str) or not name:
            findings.refuse(here, "must be the name of a metric that training reports")
        if not findings.check_mapping(here, bounds, "{max: 40}"):
            continue
        findings.check_keys(here, bounds, ("min", "max"), "a constraint")
        low = findings.read_number(f"{here}.min", bounds.get("min"))
        high = findings.read_number(f"{here}.max", bounds.get("max"))
        if not {"min", "max"} & {key for key, bound in bounds.items() if bound is not None}:
            findings.refuse(here, f"has no bound, but must have min, max or both: {_EXAMPLE}")
        elif low is not None and high is not None and low > high:
            findings.refuse(here, f"the value of min is {low:g}, but must be at most max, {high:g}")
        yield Limit(str(name), low, high)
