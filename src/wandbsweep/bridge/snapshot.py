"""The snapshot: a copy of a sweep's configuration files, so that editing the originals changes no later trial."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath

from wandbsweep.bridge.hydra_private import make_loader, make_search_path
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord, SnapshotPaths

# Providers whose configurations are not files of the project. Hydra's come with the installed package, structured ones
# with the code.
_NOT_COPIED = ("hydra", "schema")
_SUFFIXES = (".yaml", ".yml")
_SCHEME = "snapshot://"
"""Marks paths that are relative to the snapshot, which moves with the sweep's directory."""


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
    sources = ((provider, resolve_path(path, directory)) for provider, path in record.snapshot.search_path)
    return make_loader(make_search_path(sources))


def open_search_path(search_path: ConfigSearchPath, extra: Sequence[str] = ()) -> ConfigLoader:
    """Return a loader for many compositions in a row; ``extra``: the entries of ``hydra.searchpath``."""
    *main, schema = ((element.provider, element.path) for element in search_path.get_path())
    return make_loader(make_search_path([*main, *(("hydra.searchpath", path) for path in extra), schema]))


def resolve_path(path: str, directory: Path) -> str:
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
