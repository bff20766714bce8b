"""What a storage keeps and can do: the protocols that each backend implements, and their values.

A storage holds *studies*, one per sweep. A study has attributes and *attempts*: executions of trials, each with
attributes, reports and its parameters in Optuna's form. The controllers define what the attributes mean. The records
are Optuna's, so that its tools can read a sweep, but none of its types occurs here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from wandbsweep.spec.sweep_spec import Goal

T = TypeVar("T")


class AttemptState(IntEnum):
    """Optuna's ``TrialState``. A journal stores the numbers, a database the names."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    @property
    def closed(self) -> bool:
        """Whether nothing can be written to the attempt any more."""
        return self in _CLOSED


_CLOSED = frozenset({AttemptState.COMPLETE, AttemptState.PRUNED, AttemptState.FAIL})


class AttemptClosedError(Exception):
    """An attempt that is closed, by this process or another one, was written to."""


@dataclass(slots=True)
class StoredAttempt:
    """One execution of a trial as stored. A storage never changes one that it has handed out."""

    key: int
    """Identifies it in the storage. Later attempts of a study have greater keys."""
    state: AttemptState
    started: float | None
    ended: float | None
    """Unix times, in seconds."""
    attributes: dict[str, Any]
    reports: dict[int, float]
    """By step."""

    @property
    def closed(self) -> bool:
        return self.state in _CLOSED

    def copy(self) -> StoredAttempt:
        return StoredAttempt(self.key, self.state, self.started, self.ended, dict(self.attributes), dict(self.reports))


@dataclass(frozen=True, slots=True)
class StoredParam:
    """A parameter's value as Optuna stores it, for Optuna's own tools (``optuna_params``)."""

    value: float
    distribution: str
    """Optuna's distribution, as JSON."""


@dataclass(frozen=True)
class NewAttempt:
    """What an attempt is created with. It runs from that moment on."""

    attributes: Mapping[str, Any]
    reports: Mapping[int, float] = field(default_factory=dict)
    params: Mapping[str, StoredParam] = field(default_factory=dict)


class ChangeFeed(Protocol):
    """The changes of a study's attempts."""

    def __call__(self, *, created_only: bool = False) -> Sequence[StoredAttempt]:
        """Return the attempts that were created or written to since the last call, by key.

        Some may not have changed at all. ``created_only`` makes the call cheaper: it may leave changes of attempts
        that an earlier call returned to the next call.
        """


class Reader(Protocol):
    """One study, for a process that only reads. It creates nothing, not even the storage."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The study's own, as of the last call of ``changes``; empty if there is no such study."""

    def changes(self) -> Sequence[StoredAttempt]:
        """Return the attempts that were created or written to since the last call, by key.

        Raises SweepDirectoryError if the storage cannot be read.
        """

    def list_studies(self) -> Sequence[str]:
        """Return the names of all studies in the storage."""

    def is_replaced(self) -> bool:
        """Whether another storage has taken the place of the one that was read, so that a new reader is needed."""

    def read_last_heartbeat(self) -> float | None:
        """Return when an agent last renewed its lease, by that agent's clock (Unix time). Only for display."""


class Leases(Protocol):
    """Where the agents of a study show that they live. Any method may raise what the storage raises."""

    renewals: int
    """How often an agent renews its lease within the lease's time."""

    def connected(self) -> AbstractContextManager[None]:
        """Let the calls of a ``with`` block share a connection to the storage."""
        return nullcontext()

    def renew(self, owner: str) -> None:
        """Show that ``owner`` lives."""

    def read_heartbeats(self, owners: Collection[str]) -> Mapping[str, object]:
        """Return each owner's last heartbeat, to be compared for equality; None: it has no lease, or released it."""

    def release(self, owner: str) -> None:
        """Remove the lease of an agent that leaves. Raises nothing."""


class Storage(Protocol):
    """Studies and their attempts. Any number of processes and threads may use one storage.

    Processes only compete for the creation of attempts. A storage puts all creations into one order, the same for all.
    """

    addressable: bool
    """Whether a sweep can be opened by the storage's address alone (URL#id). Then its study also holds what is
    otherwise in the sweep's directory."""

    def find_study(self, name: str) -> int | None:
        """Return the key of the study ``name``; None: there is none."""

    def create_study(self, name: str, goals: Sequence[Goal]) -> int | None:
        """Create a study that optimizes ``goals`` and return its key; None: there is one of this name."""

    def read_study_attributes(self, study: int, prefix: str = "") -> dict[str, Any]:
        """Return the study's own attributes whose names begin with ``prefix``."""

    def set_study_attribute(self, study: int, name: str, value: Any) -> None: ...

    def create_attempt(self, study: int, build: Callable[[int], NewAttempt]) -> int:
        """Create an attempt and return its key.

        Args:
            study: The study's key.
            build: Returns the attempt, given the number of attempts created before. That number may be off by a few
                if other threads or programs write at this moment. May be called several times.
        """

    def set_attribute(self, attempt: int, name: str, value: Any) -> None:
        """Set an attribute of an attempt. Raises AttemptClosedError."""

    def set_params(self, attempt: int, attributes: Mapping[str, Any], params: Mapping[str, StoredParam]) -> None:
        """Store parameters and the attributes that go with them, all at once, in place of earlier ones.

        Raises AttemptClosedError.
        """

    def report(self, attempt: int, step: int, value: float) -> None:
        """Store a report, in place of an earlier one for ``step``. Raises AttemptClosedError."""

    def close_attempt(self, attempt: int, state: AttemptState, values: Sequence[float] | None = None) -> None:
        """Close an attempt for good.

        Args:
            attempt: Its key.
            state: A closed state.
            values: Optuna's objective values; None: the attempt has none.

        Raises:
            AttemptClosedError: It is closed already.
        """

    def read_attempt(self, attempt: int) -> StoredAttempt: ...

    def read_reports(self, attempt: int) -> Mapping[int, float]:
        """Return the values that an attempt reported, by step, in any order."""

    def open_change_feed(self, study: int) -> ChangeFeed:
        """Return a new feed, whose first call returns all attempts."""

    def open_leases(self, study: int) -> Leases | None:
        """Return where the leases of a study's agents are; None: in memory, where all agents die together."""

    def open_optuna(self) -> Any:
        """Return Optuna's own storage (``optuna.storages.BaseStorage``) of the same records, for its own tools."""

    def retry(self, action: Callable[[], T]) -> T:
        """Call ``action``, which uses ``open_optuna``; call it again while the storage cannot be reached."""
        return action()

    def connected(self) -> AbstractContextManager[None]:
        """Let this thread's calls in a ``with`` block share a connection: connecting takes longer than a call."""
        return nullcontext()

    def release_connection(self) -> None:
        """Let this thread share no connection while it waits."""
        return None

    def close(self) -> None:
        """Release all connections."""
        return None
