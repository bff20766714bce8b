"""Recognizes a bad node on which all trials fail (wandb#5088), so that its agent does not use up the sweep's trials.

If a trial fails within seconds while other agents do well, or is not the first in a row that fails on its agent, the
node may be to blame. Such a suspect trial is given to another agent, and counts as failed only if it fails there too.
An agent with three failures in a row gets no more as soon as other agents do better. Until then an agent that has
completed no trial asks less and less often.
"""

from __future__ import annotations

import time

from wandbsweep.controllers.completion import Completion
from wandbsweep.controllers.trial_entry import TrialEntry
from wandbsweep.controllers.trial_table import TrialTable

MAX_IN_A_ROW = 3
"""With this many failures in a row an agent's node counts as bad, if other agents do better."""
_QUICK_S = 30.0
_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 60.0


def is_suspect(table: TrialTable, entry: TrialEntry, *, forgiven: int = -1) -> bool:
    """Return whether the failure of a trial's newest attempt, which ends now, may be the fault of its agent's node.

    Args:
        table: The trials of the sweep.
        entry: The trial that fails.
        forgiven: The key of the newest attempt when the sweep was last resumed after failures. Other agents'
            successes up to it do not count.
    """
    lasted_s = time.time() - entry.newest.started if entry.newest.started else 0.0
    if lasted_s > _QUICK_S and not table.streaks.get(entry.agent):
        return False
    if any(entry.number in failed for failed in table.suspects.values()):
        return False
    if entry.agent in table.healthy:
        return _do_others_succeed(table, entry.agent, forgiven)
    return bool(table.find_healthy(after=forgiven)) or any(other.agent != entry.agent for other in table.running)


def find_bad_node(table: TrialTable, agent: str, *, forgiven: int = -1) -> Completion | None:
    """Return why an agent gets no more trials: trials fail there that other agents can run. None: it gets more.

    Args:
        table: The trials of the sweep.
        agent: The agent's name.
        forgiven: As for ``is_suspect``.
    """
    if len(table.streaks.get(agent, ())) < MAX_IN_A_ROW or not _do_others_succeed(table, agent, forgiven):
        return None
    return Completion(f"agent {agent} failed {MAX_IN_A_ROW} trials in a row while others do well")


def describe_bad_nodes(table: TrialTable, *, forgiven: int = -1) -> list[str]:
    """Return a sentence for each agent that gets no more trials."""
    found = [find_bad_node(table, agent, forgiven=forgiven) for agent in sorted(table.streaks)]
    return [f"{bad.reason[0].upper()}{bad.reason[1:]}, and gets no more of them." for bad in found if bad]


def compute_wait_s(table: TrialTable, agent: str, *, forgiven: int = -1) -> float:
    """Return how many seconds an agent should wait before it asks again.

    Args:
        table: The trials of the sweep.
        agent: The agent's name.
        forgiven: As for ``is_suspect``.
    """
    suspects = len(table.suspects.get(agent, ()))
    if not suspects or agent in table.healthy or _do_others_succeed(table, agent, forgiven):
        return 0.0
    return float(min(_FIRST_WAIT_S * 2 ** (suspects - 1), _MAX_WAIT_S))


def _do_others_succeed(table: TrialTable, agent: str, forgiven: int) -> bool:
    others = [entry for entry in table.running if entry.agent != agent and not table.streaks.get(entry.agent)]
    if any(entry.agent in table.healthy or table.record(entry).value is not None for entry in others):
        return True
    # If it has completed trials itself, so may have others that left since.
    return agent not in table.healthy and bool(table.find_healthy(after=forgiven))
