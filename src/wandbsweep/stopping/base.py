"""The protocol of a stopping rule, and the view of a sweep's trials on which it bases its decisions.

A new rule is a class with ``reason_to_stop`` in a file of its own. ``spec.early_termination.STOPPING_RULES`` gets its
name and settings, and ``controllers.embedded.stopping_rules.FACTORIES`` the function that makes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from wandbsweep.stopping.history import History
from wandbsweep.trial import TrialRecord


class TrialView(Protocol):
    """A read-only view of a sweep's trials, by number; the controllers' trial table is one."""

    def histories(self) -> Mapping[int, History]:
        """Return the metric's values that each trial reported, in the order of their steps."""

    def find_finished(self) -> Collection[int]:
        """Return the trials that finished by themselves, neither stopped nor failed."""

    def records(self) -> Sequence[TrialRecord]:
        """Return all that is known of the trials."""

    def newest_keys(self) -> Mapping[int, int]:
        """Return the storage's key of each trial's newest attempt."""


class StoppingRule(Protocol):
    """Decides at each report whether a running trial is worth its cost."""

    def reason_to_stop(self, number: int, trials: TrialView) -> str | None:
        """Return why trial ``number``, which has just reported, should stop; None: it continues."""
