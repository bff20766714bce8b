"""The sweeper's configuration, ``hydra.sweeper.*``."""

# No `from __future__ import annotations`: Hydra runs plugin modules without registering them in sys.modules, where
# a dataclass would look up what its annotations mean.

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class WandbSweeperConf:
    _target_: str = "hydra_plugins.wandbsweep.sweeper.WandbSweeper"

    # Who decides what to try and what to stop: embedded, on this machine's files or your database; or wandb, W&B's
    # servers (WANDB_ENTITY and WANDB_PROJECT, or the sweep's own `entity` and `project`, say where).
    controller: str = "embedded"
    # A W&B sweep configuration, laid over the application's own key `sweep`.
    sweep: dict[str, Any] = field(default_factory=dict)
    # null: a new sweep. An id: join or resume that one, as it was started.
    sweep_id: str | None = None
    # How many agents, each a job of the launcher. null: 1, or with `count` as many as the trials need.
    agents: int | None = None
    # How many trials an agent runs. null: until the sweep is over.
    count: int | None = None
    # null: journal.log in the sweep's directory. Else an Optuna storage URL: postgresql://…, mysql://…, sqlite:///….
    # A password stands in the environment: postgresql://me:${oc.env:DB_PASSWORD}@host/sweeps
    storage: str | None = None
    # Seed of the search. null: another one every time.
    seed: int | None = None
    # On one machine: how many of CUDA_VISIBLE_DEVICES each agent gets for its own. null: all see all.
    gpus_per_agent: int | None = None
    # Seconds of silence after which a running trial's agent is taken for dead, and the trial is given to another one.
    lease_s: float = 60.0
    # How often a trial is begun whose process or agent dies, before it stays crashed. Preemption does not count.
    max_attempts: int = 3
    # The sweep is given up when its first this-many trials all fail.
    max_failures: int = 5
    # Submit the agents and return: the sweep goes on without this process. For launchers of submitit.
    detach: bool = False
    # Allow a random or bayes sweep that nothing would ever end.
    endless: bool = False
    # process: each trial in a process of its own, forked from a warm parent, so that no crash takes an agent along.
    # none: in the agent itself, where a debugger works. null: none under the basic launcher, else process.
    isolation: str | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="wandbsweep", node=WandbSweeperConf, provider="wandbsweep")
