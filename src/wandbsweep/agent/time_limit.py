"""When an agent's own job must end, and whether another trial is worth starting before that."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wandbsweep.launchers import read_deadline

USEFUL = 0.5
"""The part of a usual trial that must fit in. With less, starting and saving would cost more than they gain."""
_RESERVE_S = 30.0
_RESERVE = 0.1  # of a short job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimeLimit:
    """When this agent's job ends."""

    end: float | None = None
    """Unix time; None: no end is known."""
    reserve_s: float = 0.0
    """How long saving and requeueing take at the job's end."""

    def worth_starting(self, durations: Sequence[float]) -> bool:
        """Return whether another trial is worth starting, given how long this agent's earlier ones took.

        It is if half of their median fits in: a trial that is cut off continues elsewhere from its checkpoint, so it
        need not finish, but it must make progress. Before the first trial nothing is known, and nearly the whole job
        is left.
        """
        if self.end is None:
            return True
        left_s = self.end - self.reserve_s - time.time()
        worth = left_s > (USEFUL * statistics.median(durations) if durations else 0.0)
        if not worth:
            log.info("This job ends in %.0f s: too soon to start another trial.", left_s + self.reserve_s)
        return worth

    @classmethod
    def of_job(cls) -> TimeLimit:
        """Return the limit that the scheduler of this process's job sets."""
        end = read_deadline()
        return cls() if end is None else cls(end, reserve_s=min(_RESERVE_S, _RESERVE * max(0.0, end - time.time())))
