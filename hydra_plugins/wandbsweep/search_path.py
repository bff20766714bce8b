"""Puts ``hydra_plugins/wandbsweep/conf`` on the search path of every project."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from hydra_plugins.wandbsweep import config as _config  # noqa: F401  entry points import this module, but not that


class WandbsweepSearchPath(SearchPathPlugin):
    """Appends our configurations, so that a project's own file of the same name comes first."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("wandbsweep", "pkg://hydra_plugins.wandbsweep.conf")
