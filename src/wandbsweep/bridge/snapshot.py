"""The configuration files that a sweep was started with, so that editing them changes nothing in it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.plugins.config_source import ConfigResult

# Hydra's own configurations come with the installed package, structured ones with the code.
_NOT_FILES = ("hydra", "schema")
_CONFIGS = (".yaml", ".yml")


def take_snapshot(loader: ConfigLoader, extra: Sequence[str], into: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Copy every configuration file that ``loader`` can see, and those of ``extra`` (``hydra.searchpath``).

    Returns both search paths as they are then: (provider, path) of each source, and the copies' ``extra``. Directories
    in them are relative to ``into``.
    """
    elements = list(loader.get_search_path().get_path())
    main = [(element.provider, _copied(element, into / f"{k}")) for k, element in enumerate(elements)]
    searchpath = [
        _copied(SearchPathElement("hydra.searchpath", path), into / f"searchpath-{k}") for k, path in enumerate(extra)
    ]
    return main, searchpath


def snapshot_loader(search_path: Sequence[tuple[str, str]], root: Path) -> ConfigLoader:
    """A loader of the configuration as it was, which reads each file once."""
    path = ConfigSearchPathImpl()
    for provider, source in search_path:
        path.append(provider, resolved(source, root))
    return reading_once(path)


def reading_once(search_path: ConfigSearchPath, extra: Sequence[str] = ()) -> ConfigLoader:
    """A loader for many compositions in a row: it reads each file once. ``extra``: ``hydra.searchpath``."""
    *main, schema = search_path.get_path()
    whole = ConfigSearchPathImpl()
    for element in [*main, *(SearchPathElement("hydra.searchpath", path) for path in extra), schema]:
        whole.append(element.provider, element.path)
    loader = ConfigLoaderImpl(config_search_path=whole)
    loader.repository = _ReadOnce(loader.repository)  # type: ignore[assignment]  # Hydra asks for too much
    return loader


class _ReadOnce(CachingConfigRepository):
    """Reads and parses each file once for all trials of an agent, where Hydra does so for each composition."""

    def __init__(self, delegate: IConfigRepository) -> None:
        self.delegate = delegate
        self.cache: dict[str, ConfigResult | None] = {}

    def __deepcopy__(self, memo: object) -> _ReadOnce:
        return self  # each composition copies its repository first, and would start with an empty cache

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.cache:
            self.cache[config_path] = self.delegate.load_config(config_path=config_path)
        return copy.deepcopy(self.cache[config_path])  # composing changes what it loads


def resolved(source: str, root: Path) -> str:
    """A path of ``take_snapshot`` as Hydra takes it."""
    return source.replace("snapshot://", f"file://{root.absolute()}/", 1)


def _copied(element: SearchPathElement, target: Path) -> str:
    directory = None if element.provider in _NOT_FILES else _directory(element.path)
    if directory is None or not directory.is_dir():
        return element.path
    target.mkdir(parents=True)  # also where there is nothing to copy: Hydra insists that the main one exists
    for file in _config_files(directory):
        copied = target / file.relative_to(directory)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
    return f"snapshot://{target.name}"


def _directory(path: str) -> Path | None:
    """Where the files of a search path's entry are; None: they are in no directory."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return Path(path)
    if scheme == "file":
        return Path(rest)
    if scheme == "pkg":
        try:
            return Path(str(files(rest)))
        except (ImportError, TypeError, ValueError):
            return None  # Hydra has its own words for a package that does not exist
    return None


def _config_files(directory: Path) -> Iterator[Path]:
    """The YAML files below ``directory``, but for hidden directories, other sweeps and virtual environments.

    A project may keep its configuration in its root, beside its outputs.
    """
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not _is_foreign(entry):
                yield from _config_files(entry)
        elif entry.suffix in _CONFIGS:
            yield entry


def _is_foreign(directory: Path) -> bool:
    if directory.is_symlink() and directory.parent.resolve().is_relative_to(directory.resolve()):
        return True  # a link to where we came from
    return (directory / "multirun.yaml").exists() or (directory / "pyvenv.cfg").exists()
