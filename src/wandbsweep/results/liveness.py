"""Whether agents work on a sweep, and what ``status`` prints if none does."""

from __future__ import annotations

import time
from dataclasses import dataclass

from wandbsweep.results.sweep_data import SweepData
from wandbsweep.settings import LEASE_S
from wandbsweep.text import pluralize


@dataclass(frozen=True)
class Liveness:
    """Whether agents work on a sweep, and whether there is work left."""

    command: str
    """The last command: ``running``, ``paused``, ``stopped`` or ``cancelled``."""
    completion: str
    """Why no more trials are given out; empty if there are more."""
    failing: str
    """How the sweep ended because its trials fail, in a sentence; empty if it did not."""
    heartbeat_age_s: float | None
    """Seconds since the last heartbeat of any agent; None if there was none, or the last agent released its lease."""
    lease_s: float

    @property
    def is_alive(self) -> bool:
        """Whether an agent is alive. The age of its heartbeat is by this machine's clock, which may be wrong."""
        return self.heartbeat_age_s is not None and self.heartbeat_age_s < self.lease_s


def find_liveness(data: SweepData) -> Liveness | None:
    """Return whether agents work on the sweep.

    None if only W&B's servers know, unless our agents' trials fail, or if the trials were not read from a storage.
    """
    if data.stored is None:
        return None
    from wandbsweep.controllers.completion import describe_command, find_completion
    from wandbsweep.controllers.embedded.study import COMMAND, FORGIVEN
    from wandbsweep.search.make import make_thawing

    record, stored = data.launch_record, data.stored
    command = stored.attributes.get(COMMAND, "running")
    max_failures = record.controller.max_failures if record else None
    over = find_completion(
        stored.table,
        data.spec,
        called_off=describe_command(command),
        max_failures=max_failures,
        forgiven=stored.attributes.get(FORGIVEN, -1),
        cap=data.cap,
    )
    if over and over.exhausted and (thawing := make_thawing(data.spec)) and data.counts.get("frozen"):
        over = None if thawing.choose(data.trials, may_start=False) is not None else over
    age_s = None if stored.last_heartbeat is None else max(0.0, time.time() - stored.last_heartbeat)
    failing = over.describe_failing() if over and over.failing else ""
    if record and record.hosted and not failing:
        return None
    if over and over.paused and command == "running":
        command = "paused"
    lease_s = record.controller.lease_s if record else LEASE_S
    return Liveness(command, over.reason if over else "", failing, age_s, lease_s)


def describe_liveness(data: SweepData, liveness: Liveness | None) -> list[str]:
    """Return lines for the user; none while agents are at work, or if everything is done."""
    if liveness is None:
        return []
    record = data.launch_record
    resume = f" Resume with:\n  {record.join_command(data.directory)}" if record else ""
    if liveness.failing:
        return [f"{liveness.failing}{resume}"]
    if liveness.command == "paused":
        return [f"Paused; resume with: wandbsweep resume {data.sweep_id}"]
    is_open = bool({"running", "queued"} & data.counts.keys())
    if liveness.is_alive or (liveness.completion and not is_open):
        is_early = liveness.completion and liveness.command != "running"
        return [f"Over: {liveness.completion}."] if is_early else []
    age_s = liveness.heartbeat_age_s
    heartbeat = "" if age_s is None else f" (the last heartbeat was {_format_age(age_s)} ago)"
    return [f"No agent is running{heartbeat}.{resume}"]


def describe_frozen(data: SweepData, liveness: Liveness | None) -> list[str]:
    """Return a line on the frozen trials; none if there are none."""
    count = data.counts.get("frozen", 0)
    if not count:
        return []
    if liveness and liveness.completion:
        return [f"Frozen for good, since the sweep is over: {pluralize(count, 'trial')}."]
    return [f"Frozen: {pluralize(count, 'trial')}, with checkpoints. Any of them may be taken up again."]


def _format_age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
