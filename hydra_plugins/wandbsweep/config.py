"""The sweeper's configuration, ``hydra.sweeper.*``."""

# No `from __future__ import annotations`: Hydra runs plugin modules without registering them in sys.modules, where
# a dataclass would look up what its annotations mean.

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class WandbSweeperConf:
    _target_: str = "hydra_plugins.wandbsweep.sweeper.WandbSweeper"

    # Who decides what to try and what to stop: embedded, on this machine's files or your database.
    controller: str = "embedded"
    # A W&B sweep configuration, laid over the application's own key `sweep`.
    sweep: dict[str, Any] = field(default_factory=dict)
    # null: a new sweep. An id: join or resume that one, as it was started.
    sweep_id: str | None = None
    # How many agents, each a job of the launcher. null: 1, or with `count` as many as the trials need.
    agents: int | None = None
    # How many trials an agent runs. null: until the sweep is over.
    count: int | None = None
    # null: journal.log in the sweep's directory. Else an Optuna storage URL.
    storage: str | None = None
    # Seed of the search. null: another one every time.
    seed: int | None = None
    # The sweep is given up when its first this-many trials all fail.
    max_failures: int = 5
    # Allow a random or bayes sweep that nothing would ever end.
    endless: bool = False


ConfigStore.instance().store(group="hydra/sweeper", name="wandbsweep", node=WandbSweeperConf, provider="wandbsweep")
