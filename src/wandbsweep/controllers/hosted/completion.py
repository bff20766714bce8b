"""How a hosted sweep stands: whether it is over, and why; which of its agents live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wandbsweep.controllers.completion import Completion
from wandbsweep.controllers.hosted.client import SweepClient
from wandbsweep.controllers.hosted.log import Entry, is_dead, is_here

ORDERS: Mapping[str, str] = {"RUNNING": "running", "PAUSED": "paused", "FINISHED": "stopped", "CANCELED": "cancelled"}
"""W&B's states of a sweep, and what the other controllers call them."""

_OVER: Mapping[str | None, str] = {
    None: "the sweep was deleted at W&B",
    "FINISHED": "the sweep is finished at W&B",
    "CANCELED": "the sweep was cancelled at W&B",
}


def why_over(
    state: str | None, entries: Sequence[Entry], *, cap: int | None, given_up: int | None
) -> Completion | None:
    """Why nothing more is given out. ``state``: W&B's; ``given_up``: after how many failures, with nothing else."""
    ended = [entry.newest.state for entry in entries]
    failures = sum(state in ("failed", "crashed") for state in ended)
    if given_up is not None and failures >= given_up and failures == len(entries):
        return Completion(f"the first {failures} trials all failed (max_failures={given_up})", aborted=True)
    if state not in ("RUNNING", "PAUSED", "PENDING") and state in _OVER:
        return Completion(_OVER[state])
    if cap is not None and len(entries) >= cap and "queued" not in ended:
        return Completion(f"all {cap} trials were given out")
    return None


def has_vanished(client: SweepClient, entry: Entry) -> bool:
    """Whether the process that runs ``entry`` is gone: seen here at once, of another machine's when W&B sees it."""
    process = entry.newest.process
    if is_here(process) or is_dead(process):
        return is_dead(process)
    return client.fetch_run_state(entry.run_id) in ("crashed", "failed", "killed")
