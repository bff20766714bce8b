"""The configurations of Hydra's jobs: an agent's own job, and the master from which its trials are composed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wandbsweep.bridge.snapshot import resolve_path
from wandbsweep.sweep.directory import AGENTS
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.override_strings import format_value

_PLUGINS = re.compile(r"[+~]*hydra[./](sweeper|launcher)\b")


def set_key(config: DictConfig, key: str, value: Any) -> None:
    """Set a dotted key whatever flags its node has: Hydra 1.4 makes its own nodes read-only."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with read_write(node), open_dict(node):
        node[leaf] = value


def copy_config(config: DictConfig) -> DictConfig:
    """Return a copy with the same values of cached resolvers, such as ``now``."""
    copied = config.copy()
    OmegaConf.copy_cache(from_config=config, to_config=copied)
    return copied


def read_hydra_overrides(master: DictConfig) -> list[str]:
    """Return the command line's overrides of ``hydra.*``, unresolved: some hold interpolations of each job's own."""
    lines = OmegaConf.to_container(master.hydra.overrides.hydra, resolve=False)
    assert isinstance(lines, list)
    return lines


def make_agent_master(master: DictConfig, record: LaunchRecord, directory: Path) -> DictConfig:
    """Return the configuration from which launchers compose the agents' jobs, each in the sweep's ``agents/<k>/``.

    Args:
        master: The launching command's configuration.
        record: What the sweep was started with.
        directory: The sweep's directory.

    Returns:
        The configuration, a copy.
    """
    place = [f"hydra.sweep.dir={format_value(str(directory))}", f"hydra.sweep.subdir={AGENTS}/${{hydra.job.num}}"]
    overrides = [*_use_snapshot(read_hydra_overrides(master), record, directory), *place]
    config = _replace_hydra_overrides(master, overrides)
    set_key(config, "hydra.sweep.dir", str(directory))  # launchers read it here as well
    set_key(config, "hydra.job.config_name", record.application.config_name)
    return config


def make_trial_master(master: DictConfig, record: LaunchRecord, directory: Path) -> DictConfig:
    """Return the configuration from which trials are composed, with the sweep's overrides of ``hydra.*``.

    The overrides of plugins come from the command that launches this agent. A trial does not use them, but Hydra 1.4
    insists that a job has the sweeper and launcher of its master.

    Args:
        master: The launching command's configuration.
        record: What the sweep was started with.
        directory: The sweep's directory.

    Returns:
        The configuration, a copy.
    """
    overrides = [line for line in record.overrides.hydra if not _PLUGINS.match(line)]
    overrides += [line for line in read_hydra_overrides(master) if _PLUGINS.match(line)]
    return _replace_hydra_overrides(master, _use_snapshot(overrides, record, directory))


def _replace_hydra_overrides(master: DictConfig, overrides: Sequence[str]) -> DictConfig:
    config = copy_config(master)
    set_key(config, "hydra.overrides.hydra", list(overrides))
    return config


def _use_snapshot(overrides: Sequence[str], record: LaunchRecord, directory: Path) -> list[str]:
    """Return ``overrides`` with a ``hydra.searchpath`` that lies in the snapshot."""
    kept = [line for line in overrides if not line.lstrip("+").startswith("hydra.searchpath")]
    if not record.snapshot.searchpath:
        return kept
    paths = [resolve_path(path, directory) for path in record.snapshot.searchpath]
    return [*kept, f"hydra.searchpath={format_value(paths)}"]
