"""``hydra/sweeper=wandbsweep``: gives the launcher agents, where other sweepers give it trials."""

from __future__ import annotations

import sys
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class WandbSweeper(Sweeper):
    """Makes or joins a sweep, launches its agents, and shows what came of it.

    The exit status is 0 when the sweep has a finished trial, 1 when it has none or was given up, 2 for bad input.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context = hydra_context
        self._task = task_function
        self._config = config

    def sweep(self, arguments: list[str]) -> Any:
        from wandbsweep.bridge.prepare import named_storage, prepare
        from wandbsweep.errors import SweepError
        from wandbsweep.launch.session import Session, refuse_unfit
        from wandbsweep.settings import Settings

        try:
            given = {**self._settings, "storage": named_storage(self._config)}
            settings = Settings(**{key: _plain(value) for key, value in given.items()})
            launcher_class = str(self._config.hydra.launcher._target_)
            refuse_unfit(launcher_class, settings)
            prepared = prepare(self._config, self._context.config_loader, arguments, settings)
            session = Session(prepared, settings, launcher=launcher_class)
        except SweepError as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        launcher = self._launcher(session)
        jobs = session.run(lambda overrides, first: launcher.launch(overrides, initial_job_idx=first))
        if prepared.plain:
            for job in jobs:
                _ = job.return_value  # raises what the trial raised, as Hydra's own sweeper does
        return [jobs]

    def _launcher(self, session: Any) -> Any:
        """The configured launcher, set up to run agents: from the sweep's snapshot, under no callbacks."""
        from hydra._internal.callbacks import Callbacks

        from wandbsweep.agent.task import AgentTask
        from wandbsweep.bridge.trial_job import agents_master, snapshot_of

        prepared = session.prepared
        task = AgentTask(
            directory=prepared.directory,
            task_function=self._task,
            master=self._config,
            callbacks=self._context.callbacks,
            count=session.settings.count,
            keep=prepared.plain,
            isolation=session.isolation,
            devices=session.devices,
            detached=session.settings.detach,
        )
        snapshot = snapshot_of(prepared.plan, prepared.directory)
        return Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=snapshot, callbacks=Callbacks()),
            task_function=task,
            config=agents_master(self._config, prepared.plan, prepared.directory),
        )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value
