"""On PYTHONPATH, this module holds agents (submitit's processes) while they ask and complete, and moves their clock."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def hold_agents() -> None:
    """Hold at two writes to the storage: after a claim is written, and before a finished attempt is closed."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    try:
        from app import hold
    finally:
        del sys.path[0]
    from wandbsweep.storage.base import AttemptState
    from wandbsweep.storage.database import DatabaseStorage
    from wandbsweep.storage.journal import JournalStorage

    def patch(storage: Any) -> None:
        create, close = storage.create_attempt, storage.close_attempt

        def create_attempt(self: Any, *arguments: Any) -> int:
            key: int = create(self, *arguments)
            hold("asking", key=key)  # the agent has not read yet which trial it has won
            return key

        def close_attempt(self: Any, key: int, state: AttemptState, *arguments: Any) -> None:
            if state is AttemptState.COMPLETE:
                hold("completing", key=key)  # the outcome is written
            close(self, key, state, *arguments)

        storage.create_attempt, storage.close_attempt = create_attempt, close_attempt

    patch(JournalStorage)
    patch(DatabaseStorage)


def jump_with(file: Path) -> None:
    """Move the clock by as many seconds as ``file`` says."""
    seconds, nanoseconds = time.time, time.time_ns

    def offset_s() -> float:
        try:
            return float(file.read_text())
        except (FileNotFoundError, ValueError):
            return 0.0

    time.time = lambda: seconds() + offset_s()
    time.time_ns = lambda: nanoseconds() + int(offset_s() * 1e9)


if "submitit.core._submit" in sys.orig_argv and "HOLDS" in os.environ:
    jump_with(Path(os.environ["HOLDS"], "clock"))
    hold_agents()
