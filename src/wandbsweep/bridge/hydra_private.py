"""What wandbsweep uses of Hydra's private API, and why.

``pyproject.toml`` bounds Hydra's version for this module's sake, and ``tests/bridge/test_hydra_private.py`` fails if
Hydra moves one of these.
"""

from __future__ import annotations

import copy
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.config_source import ConfigResult
from hydra.version import VersionBase
from omegaconf import DictConfig


def make_search_path(sources: Iterable[tuple[str, str]]) -> ConfigSearchPath:
    """Return the search path of ``sources`` (provider, path). Hydra only edits the one of the running application."""
    path = ConfigSearchPathImpl()
    for provider, source in sources:
        path.append(provider, source)
    return path


def make_loader(search_path: ConfigSearchPath) -> ConfigLoader:
    """Return a loader that reads each file once.

    Hydra's public ``initialize`` and ``compose`` share one loader per process, that of the application. Each of its
    compositions reads and parses all files again, which costs an agent 50 ms per trial.
    """
    loader = ConfigLoaderImpl(config_search_path=search_path)
    loader.repository = _ReadOnceRepository(loader.repository)  # type: ignore[assignment]  # Hydra asks for too much
    return loader


class _ReadOnceRepository(CachingConfigRepository):
    def __init__(self, delegate: IConfigRepository) -> None:
        self.delegate = delegate
        self.cache: dict[str, ConfigResult | None] = {}

    def __deepcopy__(self, memo: object) -> _ReadOnceRepository:
        return self  # else each composition, which copies its repository, would start with an empty cache

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.cache:
            self.cache[config_path] = self.delegate.load_config(config_path=config_path)
        return copy.deepcopy(self.cache[config_path])  # composing changes what it loads


def config_exists(loader: ConfigLoader, path: str) -> bool:
    """Return whether there is a configuration ``group/choice``. The public interface does not list nested choices."""
    return bool(_get_repository(loader).config_exists(path))


def group_exists(loader: ConfigLoader, group: str) -> bool:
    """Return whether there is a config group. The public interface does not tell an empty one from none."""
    return bool(_get_repository(loader).group_exists(group))


def _get_repository(loader: ConfigLoader) -> Any:
    return getattr(loader, "repository")  # noqa: B009  an attribute of Hydra's only loader, not of its abstract class


def get_replaced_sweeper(config: DictConfig) -> str | None:
    """Return the class of another sweeper that the project's ``hydra.sweeper._target_`` names, instead of which ours
    runs: an attribute of the plugin's own node."""
    return getattr(config.hydra.sweeper._get_node("_target_"), "replaced", None)


def make_callbacks() -> Callbacks:
    """Return no callbacks: an agent's own job fires none. Launchers need an object, and Hydra makes it privately."""
    return Callbacks()


def make_args_parser() -> ArgumentParser:
    """Return the parser of Hydra's own options, such as ``--config-name``, to repeat them in a join command."""
    return get_args_parser()


def get_returned(job: JobReturn) -> Any:
    """Return what a job returned or raised. Its public ``return_value`` raises, and prints, if the job failed."""
    return job._return_value


def has_failed(job: JobReturn) -> bool:
    """Return whether a job failed: then its public ``return_value`` raises."""
    return job.status == JobStatus.FAILED


def set_returned(job: JobReturn, value: Any) -> None:
    """Replace what a job returned or raised."""
    job._return_value = value


def make_failed_job(error: BaseException, config: Any = None) -> JobReturn:
    """Return the JobReturn of a job that raised ``error``."""
    return JobReturn(cfg=config, status=JobStatus.FAILED, _return_value=error)


def make_finished_job(returned: Any, config: Any = None) -> JobReturn:
    """Return the JobReturn of a job whose task returned ``returned``."""
    return JobReturn(cfg=config, status=JobStatus.COMPLETED, _return_value=returned)


@contextmanager
def set_hydra_config(config: Any) -> Iterator[None]:
    """Make ``config``, a whole one, what ``${hydra:KEY}`` reads. Outside of jobs Hydra sets none."""
    own = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = config
    try:
        yield
    finally:
        HydraConfig.instance().cfg = own


def get_whole_config() -> Any:
    """Return the configuration of this process's job, the application's part included. None: there is no job.

    HydraConfig shows ``hydra.*`` alone, as a node whose parent is the whole. Hydra's own state loses that parent, since
    copies of a node have none.
    """
    own: Any = HydraConfig.instance().cfg
    return None if own is None else own.hydra._get_parent()


def get_version_base() -> Any:
    """Return the version of Hydra whose behaviour this process has."""
    return VersionBase.instance().getbase()


def set_version_base(version: Any) -> None:
    """Have the behaviour of this version of Hydra."""
    VersionBase.instance().setbase(version)
