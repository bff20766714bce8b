"""What a sweep's jobs are composed from: a copy of the configuration files, and each job's master configuration.

The files are those that the sweep is started with, so that editing them changes no later trial.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wandbsweep.bridge.hydra_private import make_loader, make_search_path
from wandbsweep.sweep.directory import AGENTS
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord, SnapshotPaths
from wandbsweep.sweep.override_strings import format_value

# Providers whose configurations are not files of the project. Hydra's come with the installed package, structured ones
# with the code.
_NOT_COPIED = ("hydra", "schema")
_SUFFIXES = (".yaml", ".yml")
_SCHEME = "snapshot://"
"""Marks paths that are relative to the snapshot, which moves with the sweep's directory."""

PLAIN_RECURSIVE = ("hydra.sweeper._recursive_", False)
"""What the plugin's own resolver gives, for configurations that are read where it does not exist."""

_PLUGINS = re.compile(r"[+~]*hydra[./](sweeper|launcher)\b")


@dataclass(frozen=True)
class Snapshot:
    """The snapshot that a sweep will have: where its configuration will be found, and what is copied there."""

    paths: SnapshotPaths
    copies: dict[str, Path]
    """The directories that are copied, by their names in the snapshot."""

    def copy_into(self, root: Path) -> None:
        """Copy the configuration files into ``root``, which does not exist yet."""
        for name, directory in self.copies.items():
            (root / name).mkdir(parents=True)  # even if it stays empty: Hydra insists that the main one exists
            for file in _find_config_files(directory):
                copied = root / name / file.relative_to(directory)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copied)


def find_sources(search_path: ConfigSearchPath, extra: Sequence[str]) -> Snapshot:
    """Return the snapshot of every configuration file on ``search_path`` and on ``extra`` (``hydra.searchpath``)."""
    copies: dict[str, Path] = {}

    def locate(provider: str, path: str, name: str) -> str:
        directory = None if provider in _NOT_COPIED else _find_directory(path)
        if directory is None or not directory.is_dir():
            return path
        copies[name] = directory
        return f"{_SCHEME}{name}"

    elements = search_path.get_path()
    main = [(element.provider, locate(element.provider, element.path, str(k))) for k, element in enumerate(elements)]
    searchpath = [locate("hydra.searchpath", path, f"searchpath-{k}") for k, path in enumerate(extra)]
    return Snapshot(SnapshotPaths(main, searchpath), copies)


def open_snapshot(record: LaunchRecord, directory: Path) -> ConfigLoader:
    """Return a loader of the configuration with which the sweep in ``directory`` was started."""
    sources = ((provider, _resolve_path(path, directory)) for provider, path in record.snapshot.search_path)
    return make_loader(make_search_path(sources))


def open_search_path(search_path: ConfigSearchPath, extra: Sequence[str] = ()) -> ConfigLoader:
    """Return a loader for many compositions in a row; ``extra``: the entries of ``hydra.searchpath``."""
    *main, schema = ((element.provider, element.path) for element in search_path.get_path())
    return make_loader(make_search_path([*main, *(("hydra.searchpath", path) for path in extra), schema]))


def _resolve_path(path: str, directory: Path) -> str:
    """Return a path of the launch record in the form that Hydra reads, for the sweep in ``directory``."""
    return path.replace(_SCHEME, f"file://{(directory / SNAPSHOT).absolute()}/", 1)


def _find_directory(path: str) -> Path | None:
    """Return the directory of a search path's entry. None: it has none."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return Path(path)
    if scheme == "file":
        return Path(rest)
    if scheme == "pkg":
        try:
            return Path(str(files(rest)))
        except (ImportError, TypeError, ValueError):
            return None  # Hydra itself reports a package that does not exist
    return None


def _find_config_files(directory: Path) -> Iterator[Path]:
    """Yield the YAML files below ``directory``, except in hidden directories, sweeps and virtual environments.

    A project may keep its configuration in its root, where its outputs lie as well.
    """
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not _is_excluded(entry):
                yield from _find_config_files(entry)
        elif entry.suffix in _SUFFIXES:
            yield entry


def _is_excluded(directory: Path) -> bool:
    if directory.is_symlink() and directory.parent.resolve().is_relative_to(directory.resolve()):
        return True  # a link to one of its parents, which would be copied without end
    return (directory / "multirun.yaml").exists() or (directory / "pyvenv.cfg").exists()


# -- Masters -----------------------------------------------------------------------------------------------------------


def set_key(config: DictConfig, key: str, value: Any) -> None:
    """Set a key whatever flags its node has: Hydra 1.4 makes its own nodes read-only.

    Args:
        config: The configuration to change.
        key: The dotted key.
        value: Its new value.
    """
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with read_write(node), open_dict(node):
        node[leaf] = value


def tell_directory(config: DictConfig, directory: Path) -> None:
    """Make ``hydra.sweep.dir`` of the multirun's own configuration the sweep's directory, if that is another one."""
    if Path(str(config.hydra.sweep.dir)).absolute() != directory:
        set_key(config, "hydra.sweep.dir", str(directory))


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
    paths = [_resolve_path(path, directory) for path in record.snapshot.searchpath]
    return [*kept, f"hydra.searchpath={format_value(paths)}"]
