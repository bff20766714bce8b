"""The completion of a sweep: when no more trials are given out, and why."""

from __future__ import annotations

from dataclasses import dataclass

from wandbsweep.controllers.outcome import find_best_value
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.search.repeats import is_target_reached
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import SUCCEEDED


@dataclass(frozen=True, slots=True)
class Completion:
    """The reason why no more trials are given out."""

    reason: str
    aborted: bool = False
    """Whether the sweep ended because all its trials failed. It is resumed by joining it or by a command."""
    paused: bool = False
    """Whether the sweep is paused because its last trials failed, after others had not. It is resumed likewise."""
    exhausted: bool = False
    """Whether the only reason is that all trials are given out. If one is lost or released, there is one more."""

    @property
    def failing(self) -> bool:
        """Whether the reason is that trials fail, so that the sweep can be resumed once the cause is gone."""
        return self.aborted or self.paused

    def describe_failing(self) -> str:
        """Return a sentence for a sweep whose trials fail: how it ended, and why."""
        return f"The sweep {'is paused' if self.paused else 'was aborted'}: {self.reason}."


def find_completion(
    table: TrialTable,
    spec: SweepSpec,
    *,
    called_off: Completion | None = None,
    max_failures: int | None = None,
    forgiven: int = -1,
    cap: int | None = None,
    agent: str | None = None,
) -> Completion | None:
    """Find out whether a sweep gives out more trials. Both controllers decide by this rule.

    Args:
        table: The sweep's trials.
        spec: The sweep configuration, which may name a target.
        called_off: The completion if a user ended the sweep.
        max_failures: The sweep is aborted if its first ``max_failures`` trials all fail, and paused if later this many
            in a row fail while no other agent does well. None: neither.
        forgiven: The key of the newest attempt when the sweep was last resumed after that. Failures of attempts up to
            it do not count again.
        cap: How many trials there can be in all. None: no limit.
        agent: The agent that asks. It gets no trial that has failed on it. None: any agent.

    Returns:
        The completion, or None if there are more trials.
    """
    return (
        _find_abort(table, max_failures, forgiven)
        or called_off
        or _find_target_reached(table, spec)
        or _find_exhaustion(table, cap, agent)
    )


def describe_command(command: str) -> Completion | None:
    """Return the completion that the command ``wandbsweep stop`` or ``wandbsweep cancel`` means."""
    return Completion(f"the sweep was {command}") if command in ("stopped", "cancelled") else None


def _find_abort(table: TrialTable, max_failures: int | None, forgiven: int) -> Completion | None:
    """Find out whether the script is broken: its trials all fail, or no trial can ever have a value."""
    if max_failures is None:
        return None
    # Parameters with which a training diverges or runs out of memory are what a sweep finds out. They only count as
    # long as no others work.
    failures = table.count_failed_in_a_row(after=forgiven, excuse=bool(table.healthy))
    is_fatal = table.fatal > forgiven
    if table.healthy:
        if failures < max_failures or _is_any_doing_well(table):
            return None
        return Completion(f"the last {failures} trials all failed (max_failures={max_failures})", paused=True)
    if not is_fatal and failures < max_failures:
        return None
    # Trials that run and have no value yet say nothing: with several agents there always are some. A trial that
    # reports a value shows that the script works.
    if any(table.record(entry).value is not None for entry in table.open):
        return None
    if is_fatal:
        return Completion("the script ran, but gave no value of the metric", aborted=True)
    which = f"the first {failures} trials" if forgiven < 0 else f"{failures} trials since the sweep was resumed"
    return Completion(f"{which} all failed (max_failures={max_failures})", aborted=True)


def _is_any_doing_well(table: TrialTable) -> bool:
    """Whether a trial runs that may well succeed: it has a value, or its agent completed the one before."""
    running = (entry for entry in table.running if not table.streaks.get(entry.agent))
    return any(entry.agent in table.healthy or table.record(entry).value is not None for entry in running)


def _find_target_reached(table: TrialTable, spec: SweepSpec) -> Completion | None:
    if spec.metric is None or spec.metric.target is None:
        return None
    target = spec.metric.target
    if spec.repeats:  # then a mean must reach the target, not one lucky run
        if not is_target_reached(target, table.records(), spec.repeats, spec.metric):
            return None
        return Completion(f"the target {target:g} was reached, as the mean of {len(spec.repeats.values)} runs")
    if spec.limits:  # only the end of a trial tells whether it keeps them
        ended = (trial for trial in table.records() if trial.state in SUCCEEDED)
        values = [trial.value for trial in ended if not spec.describe_infeasibility(trial)]
    else:
        values = [table.best, *(table.record(entry).value for entry in table.open)]
    best = find_best_value(values, spec.goal)
    if best is None or (best < target if spec.goal == "maximize" else best > target):
        return None
    return Completion(f"the target {target:g} was reached")


def _find_exhaustion(table: TrialTable, cap: int | None, agent: str | None) -> Completion | None:
    if cap is None or len(table.entries) < cap or table.find_queued(agent) is not None:
        return None
    return Completion(f"all {cap} trials were given out", exhausted=True)
