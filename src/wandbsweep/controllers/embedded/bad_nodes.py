"""A bad node that fails everything (wandb#5088): its agent must not burn through the sweep's trials.

While an agent has brought no trial to its end, a trial that fails on it within seconds proves little where other
agents are at work: it is given to one of those, and failed for good only where it fails there too. An agent of which
three trials were doubted in this way stops asking as soon as others are seen to do better, and asks ever less often
until then.
"""

from __future__ import annotations

from wandbsweep.controllers.trial_table import TrialEntry, TrialTable

STRIKES = 3
_QUICK_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


def is_doubtful(ledger: TrialTable, entry: TrialEntry, *, lasted_s: float) -> bool:
    """Whether the failure of ``entry``'s newest attempt, after ``lasted_s`` seconds, may be its agent's fault."""
    agent = entry.agent
    if (
        agent in ledger.healthy
        or lasted_s > _QUICK_S
        or any(entry.number in failed for failed in ledger.suspects.values())
    ):
        return False
    return bool(ledger.healthy) or any(other.agent != agent for other in ledger.running)


def is_bad(ledger: TrialTable, agent: str) -> bool:
    """Whether ``agent`` is to ask no more: it fails what others can do."""
    strikes = len(ledger.suspects.get(agent, ()))
    return agent not in ledger.healthy and strikes >= STRIKES and _others_do_well(ledger, agent)


def wait_s(ledger: TrialTable, agent: str) -> float:
    """How long ``agent`` should wait before it asks again, in seconds."""
    strikes = len(ledger.suspects.get(agent, ()))
    if not strikes or agent in ledger.healthy or _others_do_well(ledger, agent):
        return 0.0
    return float(min(_FIRST_WAIT_S * 2 ** (strikes - 1), _LONGEST_WAIT_S))


def _others_do_well(ledger: TrialTable, agent: str) -> bool:
    running = (entry for entry in ledger.running if entry.agent != agent)
    return bool(ledger.healthy - {agent}) or any(ledger.record(entry).value is not None for entry in running)
