"""Whose turn it is to choose: bayes chooses in the order of the trials' numbers, so that each choice sees those before.

Two agents that chose from the same trials would choose the same point. But a choice takes a tenth of a second, or one
where a thousand trials have ended, and of hundreds of agents that ask at once the last would wait for minutes. So an
agent waits a few seconds, and then does without the model: it takes one of the best trials and draws some of its
parameters anew (``bayes.vary``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

PATIENCE_S = 2.0
QUEUE = 8
"""Whoever has more before it need not wait that long to know."""
DEAD_S = 30.0
"""An agent that died while it chose must not hold up the others for longer than this, taken together."""

_POLL_S, _LONGEST_POLL_S = 0.05, 0.5


class Turns:
    """As one agent sees them."""

    def __init__(self) -> None:
        self._dead: set[int] = set()
        self._first = -1
        self._since = 0.0

    def ahead(self, choosing: Sequence[int]) -> int:
        """How many to wait for, where the trials ``choosing`` come first."""
        alive = [number for number in choosing if number not in self._dead]
        if alive and alive[0] != self._first:
            self._first, self._since = alive[0], time.monotonic()
        elif alive and time.monotonic() - self._since > DEAD_S:
            self._dead.add(alive.pop(0))
        return len(alive)


def pause_s(ahead: int) -> float:
    """How long to sleep before one looks again: those at the end of the queue leave the store to who is at work."""
    return min(_POLL_S * ahead, _LONGEST_POLL_S)
