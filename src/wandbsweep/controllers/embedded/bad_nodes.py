"""Recognizes a bad node on which all trials fail (wandb#5088), so that its agent does not use up the sweep's trials.

If an agent has completed no trial yet, and a trial fails on it within seconds while other agents are at work, the node
may be to blame. Such a suspect trial is given to another agent, and counts as failed only if it fails there too. An
agent with three suspect trials gets no more as soon as other agents do better. Until then it asks less and less often.
"""

from __future__ import annotations

from wandbsweep.controllers.completion import Completion
from wandbsweep.controllers.trial_table import TrialEntry, TrialTable

MAX_SUSPECTS = 3
"""With this many suspect trials an agent's node counts as bad, if other agents do better."""
_QUICK_S = 30.0
_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 60.0


def is_suspect(table: TrialTable, entry: TrialEntry, *, lasted_s: float) -> bool:
    """Whether the failure of the newest attempt, after ``lasted_s`` seconds, may be the fault of its agent's node."""
    if entry.agent in table.healthy or lasted_s > _QUICK_S:
        return False
    if any(entry.number in failed for failed in table.suspects.values()):
        return False
    return bool(table.healthy) or any(other.agent != entry.agent for other in table.running)


def find_bad_node(table: TrialTable, agent: str) -> Completion | None:
    """Return why ``agent`` gets no more trials: trials fail there that other agents can run. None: it gets more."""
    suspects = len(table.suspects.get(agent, ()))
    if agent in table.healthy or suspects < MAX_SUSPECTS or not _do_others_succeed(table, agent):
        return None
    return Completion(f"agent {agent} failed {MAX_SUSPECTS} trials while others do well")


def compute_wait_s(table: TrialTable, agent: str) -> float:
    """Return how many seconds ``agent`` should wait before it asks again."""
    suspects = len(table.suspects.get(agent, ()))
    if not suspects or agent in table.healthy or _do_others_succeed(table, agent):
        return 0.0
    return float(min(_FIRST_WAIT_S * 2 ** (suspects - 1), _MAX_WAIT_S))


def _do_others_succeed(table: TrialTable, agent: str) -> bool:
    running = (entry for entry in table.running if entry.agent != agent)
    return bool(table.healthy - {agent}) or any(table.record(entry).value is not None for entry in running)
