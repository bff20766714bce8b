"""The stores of agents' leases: files, or attributes of a study in a database.

An agent's lease covers all attempts that it holds. It is renewed while the agent's process runs, whatever its training
does. With a journal there is a file per agent next to it. ``controllers/embedded/lease_expiry.py`` decides from the
leases which agents live.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wandbsweep.storage.base import Leases

LEASES = ".sweep/leases"
"""The directory of the leases in a sweep's directory."""

HEARTBEAT = "wandbsweep:beat:"
"""The prefix of the study's attributes that are leases."""

_PROBE = "probe"


class FileLeases(Leases):
    """A small file per agent in ``directory``, overwritten in place, so that a full disk stops no renewal."""

    renewals = 20

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def renew(self, owner: str) -> None:
        path = self._directory / owner
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.pwrite(file, b"%020d\n" % time.time_ns(), 0)
        finally:
            os.close(file)

    def read_heartbeats(self, owners: Collection[str]) -> dict[str, object]:
        # If this process cannot write, the owners may not be able to either: then raise, rather than let them expire.
        self.renew(_PROBE)
        return {owner: self._read(owner) for owner in owners}

    def release(self, owner: str) -> None:
        with suppress(OSError):
            (self._directory / owner).unlink(missing_ok=True)

    def read_last_heartbeat(self) -> float | None:
        """Return when an agent last renewed its lease, by that agent's clock (Unix time). Only for display."""
        owners = [path.name for path in self._directory.glob("*") if path.name != _PROBE]
        return _find_latest(self._read(owner) for owner in owners)

    def _read(self, owner: str) -> bytes | None:
        try:
            return (self._directory / owner).read_bytes()  # opening it again makes NFS show what others wrote
        except FileNotFoundError:
            return None


def find_last_heartbeat(attributes: Mapping[str, Any]) -> float | None:
    """Return what ``FileLeases.read_last_heartbeat`` does, from the attributes of a study in a database."""
    return _find_latest(heartbeat for name, heartbeat in attributes.items() if name.startswith(HEARTBEAT))


def _find_latest(heartbeats: Iterable[Any]) -> float | None:
    return max((int(heartbeat) / 1e9 for heartbeat in heartbeats if heartbeat), default=None)
