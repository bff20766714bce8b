"""The commands that users give to a running sweep: pause, resume, stop, cancel."""

from __future__ import annotations

import math
import time

from wandbsweep.storage.base import Storage

COMMAND = "wandbsweep:order"
"""The study's attribute that holds the last command; if there is none, it is ``running``."""
FORGIVEN = f"{COMMAND}:forgiven"
"""The study's attribute that holds the newest attempt's key when the sweep was last resumed after an abort."""
COMMANDS = ("running", "paused", "stopped", "cancelled")

_MAX_AGE_S = 1.0
"""How old the command may be by which a reporting trial decides."""


class ControlRequests:
    """The commands given to one study."""

    def __init__(self, storage: Storage, study: int) -> None:
        self._storage = storage
        self._study = study
        self.last = "running"
        """The command when it was last read."""
        self.forgiven = -1
        """Up to which attempt failures do not abort the sweep, when it was last read."""
        self._read_at = -math.inf

    def read(self) -> str:
        stored = self._storage.read_study_attributes(self._study, COMMAND)
        self.last, self.forgiven = stored.get(COMMAND, "running"), stored.get(FORGIVEN, -1)
        self._read_at = time.monotonic()
        return self.last

    def read_recent(self) -> str:
        """Return the command, at most a second old."""
        return self.last if time.monotonic() - self._read_at < _MAX_AGE_S else self.read()

    def give(self, command: str) -> None:
        """Give a command to all agents. Raises ValueError if it is not one of ``COMMANDS``."""
        if command not in COMMANDS:
            raise ValueError(f"The command is {command!r}, but must be one of {', '.join(COMMANDS)}")
        self._storage.set_study_attribute(self._study, COMMAND, command)
        self._read_at = -math.inf

    def forgive(self, newest: int) -> None:
        """Let the failures of attempts up to the key ``newest`` not abort the sweep again."""
        self._storage.set_study_attribute(self._study, FORGIVEN, newest)
        self._read_at = -math.inf
