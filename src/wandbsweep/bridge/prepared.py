"""A sweep that is ready to be launched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.search_space import make_sample_point
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
    """The overrides with which an agent's job is composed."""

    @property
    def is_plain(self) -> bool:
        """Whether this is a comma-list grid without a sweep configuration, as Hydra's own sweeper runs them."""
        return self.record.controller.plain_grid is not None


def make_prepared_sweep(
    config: DictConfig, directory: Path, record: LaunchRecord, spec: SweepSpec, *, joined: bool
) -> PreparedSweep:
    """Return a sweep that is on disk, ready to be launched.

    Args:
        config: The multirun's configuration.
        directory: The sweep's directory.
        record: What it was started with.
        spec: What it searches.
        joined: Whether it existed before.

    Returns:
        The sweep. Its agents' jobs are composed with the fixed overrides. If these do not compose, because a config
        group is mandatory, they are composed with those of some trial.
    """
    slots = record.overrides.slots
    overrides = format_overrides(slots, {})
    try:
        open_snapshot(record, directory).load_sweep_config(config, overrides)
    except (HydraException, OmegaConfBaseException):
        overrides = format_overrides(slots, make_sample_point(spec))
    return PreparedSweep(directory, record, spec, joined, overrides)
