"""Put on PYTHONPATH, holds agents (submitit's processes) while they ask and complete, and moves their clock."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def hold_agents() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    try:
        from app import hold
    finally:
        del sys.path[0]
    from wandbsweep.controllers.embedded.controller import EmbeddedController

    won, close = EmbeddedController._number_won, EmbeddedController._close

    def held_won(self: Any, key: int) -> int | None:
        hold("asking", key=key)  # the claim is written; nobody has looked yet what it won
        return won(self, key)

    def held_close(self: Any, key: int, outcome: Any) -> None:
        storage = self._storage
        write = storage.set_trial_state_values

        def held_write(*args: Any, **values: Any) -> Any:
            del storage.set_trial_state_values
            if outcome["state"] == "finished":
                hold("completing", key=key)  # how it ended is written, and not yet that it did
            return write(*args, **values)

        storage.set_trial_state_values = held_write
        close(self, key, outcome)

    EmbeddedController._number_won, EmbeddedController._close = held_won, held_close  # type: ignore[method-assign]


def jump_with(file: Path) -> None:
    """The clock is as many seconds off as ``file`` says."""
    seconds, nanoseconds = time.time, time.time_ns

    def off_s() -> float:
        try:
            return float(file.read_text())
        except (FileNotFoundError, ValueError):
            return 0.0

    time.time = lambda: seconds() + off_s()
    time.time_ns = lambda: nanoseconds() + int(off_s() * 1e9)


if "submitit.core._submit" in sys.orig_argv and "HOLDS" in os.environ:
    jump_with(Path(os.environ["HOLDS"], "clock"))
    hold_agents()
