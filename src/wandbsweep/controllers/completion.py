"""When a sweep gives out no more trials, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wandbsweep.controllers.trial_table import TrialTable, best_of
from wandbsweep.search.repeats import reached

if TYPE_CHECKING:
    from wandbsweep.spec.sweep_spec import SweepSpec


@dataclass(frozen=True, slots=True)
class Completion:
    """Why nothing more is given out; ``aborted`` when that is nothing to be happy about."""

    reason: str
    aborted: bool = False


def over_for_all(ledger: TrialTable, spec: SweepSpec, *, order: str, max_failures: int | None) -> Completion | None:
    """Why no agent gets a trial any more, whatever is left to give out."""
    target = spec.metric.target if spec.metric else None
    # With repeats a target is a mean's, not that of one lucky run.
    single = None if spec.repeats else target
    over = called_off(order) or given_up(ledger, max_failures=max_failures) or target_reached(ledger, target=single)
    if over or target is None or not spec.repeats or not reached(target, ledger.records(), spec.repeats, spec.goal):
        return over
    return Completion(f"the target {target:g} was reached, as the mean of {len(spec.repeats.values)} runs")


def given_up(ledger: TrialTable, *, max_failures: int | None) -> Completion | None:
    """A broken script must not burn the cluster: its first trials all failed, or none can ever have a value."""
    if max_failures is None:
        return None
    failures = ledger.ended["failed"] + ledger.ended["crashed"]
    if not (ledger.hopeless or failures >= max_failures) or ledger.ended["finished"] or ledger.ended["stopped"]:
        return None
    if any(ledger.record(entry).value is not None for entry in ledger.open):
        return None  # something runs, and well: it is not the script
    if ledger.hopeless:
        return Completion("the script ran, but gave no value of the metric", aborted=True)
    return Completion(f"the first {failures} trials all failed (max_failures={max_failures})", aborted=True)


def target_reached(ledger: TrialTable, *, target: float | None) -> Completion | None:
    if target is None:
        return None
    values = [ledger.best, *(ledger.record(entry).value for entry in ledger.open)]
    best = best_of([value for value in values if value is not None], ledger.goal)
    if best is None or (best < target if ledger.goal == "maximize" else best > target):
        return None
    return Completion(f"the target {target:g} was reached")


def all_given_out(ledger: TrialTable, *, cap: int | None, agent: str | None = None) -> Completion | None:
    if cap is None or len(ledger.entries) < cap or ledger.queued(agent) is not None:
        return None
    return Completion(f"all {cap} trials were given out")


def called_off(order: str) -> Completion | None:
    """Somebody said so: ``wandbsweep stop`` or ``wandbsweep cancel``."""
    return Completion(f"the sweep was {order}") if order in ("stopped", "cancelled") else None
