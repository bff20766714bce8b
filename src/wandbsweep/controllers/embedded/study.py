"""A sweep's study: what all of its agents share, as one process sees it."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wandbsweep.controllers.embedded.known_trials import decode_known_trials, find_known_trials
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import Storage
from wandbsweep.storage.json_codec import encode_json
from wandbsweep.sweep.launch_record import ControllerOptions

# The attributes of a study.
SEED = "wandbsweep:seed"
IDENTITY = "wandbsweep:identity"
KNOWN = "wandbsweep:known"
ORIGIN = "wandbsweep:origin"
"""The sweep's configuration and directory, for a process that knows only the storage's address."""
COMMAND = "wandbsweep:order"
"""The last command that a user gave; if there is none, it is ``running``."""
FORGIVEN = f"{COMMAND}:forgiven"
"""The newest attempt's key when the sweep was last resumed after an abort."""
COMMANDS = ("running", "paused", "stopped", "cancelled")

_PATIENCE_S = 30.0
_POLL_S = 0.02
_MAX_AGE_S = 1.0
"""How old the command may be by which a reporting trial decides."""


class Study:
    """A sweep's study in a storage: its attributes, its trials, and the commands that users give.

    The trial table is brought up to date on demand. One thread at a time uses it, in a ``with`` block.
    """

    def __init__(
        self, storage: Storage, name: str, spec: SweepSpec, options: ControllerOptions, directory: Path | None
    ) -> None:
        """Open the study ``name``, or create it if there is none.

        Args:
            storage: Where it is kept.
            name: Its name.
            spec: The sweep configuration.
            options: What the sweep was started with.
            directory: The sweep's directory.

        Raises:
            SweepDirectoryError: The study was not created by wandbsweep.
            SweepConfigError: A new sweep cannot learn from a sweep that ``spec.prior`` names.
        """
        self.storage, self.name, self.spec, self.options = storage, name, spec, options
        with storage.connected():
            self.key = self._find_or_create(directory)
            stored = self._await_attributes()
        self.seed = int(stored[SEED])
        """Of the search."""
        self.identity = stored.get(IDENTITY, spec.identity)
        """Of the sweep that the study holds (``SweepSpec.identity``)."""
        self.known = decode_known_trials(stored.get(KNOWN, []))
        """The trials of other sweeps that the search learns from."""
        self._feed = storage.open_change_feed(self.key)
        self._table = TrialTable(spec.goal, spec.value_rule)
        self._lock = threading.RLock()
        self.command = "running"
        """The command when it was last read."""
        self.forgiven = -1
        """Up to which attempt failures do not abort the sweep, when it was last read."""
        self._command_read_at = -math.inf

    # -- the trials ---------------------------------------------------------------------------------------------

    @contextmanager
    def refresh(self, *, created_only: bool = False) -> Iterator[TrialTable]:
        """Yield the table as the trials are now.

        ``created_only`` makes the call cheaper: the table may lack what happened to known attempts.
        """
        with self._lock:
            self._table.update(self._feed(created_only=created_only))
            yield self._table

    @contextmanager
    def last(self) -> Iterator[TrialTable]:
        """Yield the table as it was when it was last refreshed."""
        with self._lock:
            yield self._table

    # -- the commands -------------------------------------------------------------------------------------------

    def read_command(self) -> str:
        stored = self.storage.read_study_attributes(self.key, COMMAND)
        self.command, self.forgiven = stored.get(COMMAND, "running"), stored.get(FORGIVEN, -1)
        self._command_read_at = time.monotonic()
        return self.command

    def read_recent_command(self) -> str:
        """Return the command, at most a second old."""
        return self.command if time.monotonic() - self._command_read_at < _MAX_AGE_S else self.read_command()

    def give_command(self, command: str) -> None:
        """Give a command to all agents. Raises ValueError if it is not one of ``COMMANDS``."""
        if command not in COMMANDS:
            raise ValueError(f"The command is {command!r}, but must be one of {', '.join(COMMANDS)}")
        self.storage.set_study_attribute(self.key, COMMAND, command)
        self._command_read_at = -math.inf

    def forgive(self, newest: int) -> None:
        """Let the failures of attempts up to the key ``newest`` not abort the sweep again."""
        self.storage.set_study_attribute(self.key, FORGIVEN, newest)
        self._command_read_at = -math.inf

    # -- opening ------------------------------------------------------------------------------------------------

    def _find_or_create(self, directory: Path | None) -> int:
        while (key := self.storage.find_study(self.name)) is None:
            # The other sweeps are read only here: they may be gone when another agent joins.
            attributes = self._make_attributes(directory)
            goals = [metric.goal for metric in self.spec.metrics] or [self.spec.goal]
            key = self.storage.create_study(self.name, goals)
            if key is not None:  # otherwise another agent was faster
                # If this process is killed before the seed is stored, the study stays without one, and every agent
                # refuses it.
                for attribute, value in attributes.items():
                    self.storage.set_study_attribute(key, attribute, value)
                return key
        return key

    def _make_attributes(self, directory: Path | None) -> dict[str, Any]:
        """Return what the other agents need. The seed comes last: if it is there, everything else is stored as well."""
        attributes: dict[str, Any] = {}
        if known := find_known_trials(self.spec):
            attributes[KNOWN] = known
        if self.storage.addressable:  # otherwise the sweep's directory lies next to the storage
            config = encode_json(self.spec.dump())
            attributes[ORIGIN] = {"config": config, "directory": None if directory is None else str(directory)}
        seed = self.options.seed
        seed = random.SystemRandom().getrandbits(32) if seed is None else seed
        return {**attributes, IDENTITY: self.spec.identity, SEED: seed}

    def _await_attributes(self) -> dict[str, Any]:
        """Wait for the agent that created the study to initialize it."""
        deadline = time.monotonic() + _PATIENCE_S
        while SEED not in (attributes := self.storage.read_study_attributes(self.key)):
            if time.monotonic() > deadline:
                raise SweepDirectoryError("The storage holds a study without a seed: it was not created by wandbsweep.")
            time.sleep(_POLL_S)
        return attributes
