"""In a process that Lightning has started as a further rank of a trial: runs the trial instead of the application."""

import os
import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class RankOfTrial(SearchPathPlugin):
    """Uses Hydra's first call of a plugin, which comes before Hydra composes a configuration."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "WANDBSWEEP_TRIAL" not in os.environ:  # in nearly all processes: importing the agent takes time
            return
        from wandbsweep.agent.lightning_ranks import is_further_rank, main

        if is_further_rank():
            sys.exit(main())
