"""A sweep that is ready to be launched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import LaunchRecord


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep on disk, and how to launch it."""

    directory: Path
    record: LaunchRecord
    spec: SweepSpec
    joined: bool
    """Whether the sweep existed before."""
    agent_overrides: Sequence[str]
    """The overrides with which an agent's job is composed."""

    @property
    def is_plain(self) -> bool:
        """Whether this is a comma-list grid without a sweep configuration, as Hydra's own sweeper runs them."""
        return self.record.controller.plain_grid is not None
