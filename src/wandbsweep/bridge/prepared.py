"""A sweep that is ready to be launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.snapshot import open_snapshot
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.override_strings import format_overrides


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep on disk, and how to launch it."""

    directory: Path
    record: LaunchRecord
    spec: SweepSpec
    joined: bool
    """Whether the sweep existed before."""
    agent_overrides: Sequence[str]
    """What an agent's own job is composed with."""

    @property
    def is_plain(self) -> bool:
        """Whether this is a comma-list grid without a sweep configuration, as Hydra's own sweeper runs them."""
        return self.record.controller.plain_grid is not None


def choose_agent_overrides(
    config: DictConfig, record: LaunchRecord, directory: Path, point: Mapping[str, Any]
) -> list[str]:
    """Return the overrides of the agents' own jobs.

    Args:
        config: The multirun's configuration.
        record: What the sweep was started with.
        directory: The sweep's directory.
        point: Some trial's parameters.

    Returns:
        The fixed overrides if they compose. If they do not (a group may be mandatory), those of ``point``.
    """
    fixed = format_overrides(record.overrides.slots, {})
    try:
        open_snapshot(record, directory).load_sweep_config(config, fixed)
    except (HydraException, OmegaConfBaseException):
        return format_overrides(record.overrides.slots, point)
    return fixed
