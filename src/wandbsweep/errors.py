"""The exceptions of wandbsweep.

SweepError                    what a user can fix; every message names the value, the rule and the choices
├── SweepConfigError          a sweep configuration breaks its rules; lists every violation
├── SpaceError                the search space does not fit the application's Hydra configuration
├── SweepDirectoryError       a sweep's directory is missing, unreadable or belongs to another sweep
└── BrokenDeviceError         a trial has left the GPU unusable for its process
DivergedError                 a training's loss is NaN or infinite
"""

from __future__ import annotations

from collections.abc import Sequence

from wandbsweep.text import pluralize


class SweepError(Exception):
    """Base of all errors that a user can fix; shown without a traceback."""


class SweepConfigError(SweepError, ValueError):
    """A sweep configuration breaks its rules.

    ``violations`` holds one message for each. A message begins with the path of the key that it is about.
    """

    def __init__(self, violations: Sequence[str], *, source: str | None = None) -> None:
        self.violations = tuple(violations)
        self.source = source
        where = f" in {source}" if source else ""
        count = pluralize(len(self.violations), "violation")
        lines = "\n".join(f"  - {violation}" for violation in self.violations)
        super().__init__(f"The sweep configuration has {count}{where}:\n{lines}")

    def __reduce__(self) -> tuple[type[SweepConfigError], tuple[Sequence[str]], dict[str, object]]:
        return type(self), (self.violations,), self.__dict__


class SpaceError(SweepError):
    """The search space does not fit the application's Hydra configuration."""


class SweepDirectoryError(SweepError):
    """A sweep's directory is missing, unreadable, not writable, or belongs to another sweep."""


class BrokenDeviceError(SweepError):
    """A trial has left the GPU unusable for its process, so that this process can run no other trial."""


class DivergedError(ArithmeticError):
    """The loss of a training is NaN or infinite. The trial has failed, and is not tried again."""
