"""Whether anybody works on a sweep: what ``status`` says of one whose processes have all gone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wandbsweep.settings import LEASE_S
from wandbsweep.sweep.resume import join_command

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import SweepData


@dataclass(frozen=True)
class Attendance:
    """Who works on a sweep."""

    order: str
    """``running``, or what somebody ordered: ``paused``, ``stopped`` or ``cancelled``."""
    over: str
    """Why no more trials are given out; empty: there are more."""
    heard_s: float | None
    """Seconds since an agent was last heard of, by this machine's clock; None: there was none, or it said good-bye."""
    lease_s: float

    @property
    def alive(self) -> bool:
        """Whether an agent is there, as far as this machine's clock is right."""
        return self.heard_s is not None and self.heard_s < self.lease_s


def attendance(data: SweepData) -> Attendance | None:
    """How it stands with the sweep; None: W&B's servers know, or the trials were not read from a store."""
    if data.stored is None:
        return None
    from wandbsweep.controllers.completion import all_given_out, over_for_all
    from wandbsweep.controllers.embedded.control_requests import ORDER
    from wandbsweep.storage.leases import LEASES, FileLeases, latest_of

    plan, stored = data.launch_record, data.stored
    order = stored.attributes.get(ORDER, "running")
    max_failures = plan.max_failures if plan else None
    over = over_for_all(stored.table, data.spec, order=order, max_failures=max_failures)
    over = over or all_given_out(stored.table, cap=data.cap)
    leases = data.directory / LEASES
    latest = latest_of(stored.attributes) if stored.in_database else FileLeases(leases).latest()
    heard_s = None if latest is None else max(0.0, time.time() - latest)
    return Attendance(order, over.reason if over else "", heard_s, plan.lease_s if plan else LEASE_S)


def describe(data: SweepData, found: Attendance | None) -> list[str]:
    """What there is to say of it, in lines; nothing while agents are at work, or all is done."""
    if found is None:
        return []
    if found.order == "paused":
        return [f"Paused; go on with: wandbsweep resume {data.sweep_id}"]
    running, queued = (data.counts.get(state, 0) for state in ("running", "queued"))
    if found.alive or (found.over and not running and not queued):
        return [f"Over: {found.over}."] if found.over and found.order != "running" else []
    heard = "" if found.heard_s is None else f" (the last one was heard of {_ago(found.heard_s)} ago)"
    command = f" Go on with:\n  {join_command(data.launch_record, data.directory)}" if data.launch_record else ""
    return [f"No agent lives{heard}.{command}"]


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
