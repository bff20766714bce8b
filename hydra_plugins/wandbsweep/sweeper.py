"""``hydra/sweeper=wandbsweep``: passes agents to the launcher, whereas other sweepers pass trials."""

from __future__ import annotations

import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class WandbSweeper(Sweeper):
    """Creates or joins a sweep, launches its agents, and shows the result.

    The exit status is 0 if the sweep has a finished trial, 1 if it has none or ``max_failures`` ended it, and 2 for bad
    input. A plain grid exits with 1 if any trial failed.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context = hydra_context
        self._task = task_function
        self._config = config
        shown: Any = HydraConfig.instance().cfg
        if shown is config:  # by `show_config`
            HydraConfig.instance().cfg = None

    def sweep(self, arguments: list[str]) -> Any:
        from wandbsweep.process_state.random_numbers import RandomNumbers

        random_numbers = RandomNumbers()  # before our own imports, some of which draw random numbers
        from wandbsweep.bridge.hydra_private import set_hydra_config
        from wandbsweep.bridge.multirun import Multirun, read_settings
        from wandbsweep.bridge.prepare import prepare_sweep
        from wandbsweep.bridge.snapshot import tell_directory
        from wandbsweep.errors import SweepError
        from wandbsweep.launch.messages import hide_agents_as_jobs
        from wandbsweep.launch.session import Session, refuse_unsuitable_launcher
        from wandbsweep.launchers import limit_jobs

        try:
            with set_hydra_config(self._config):
                settings = read_settings(self._config, self._settings)
                launcher_class = str(self._config.hydra.launcher._target_)
                refuse_unsuitable_launcher(launcher_class, settings)
                limit_jobs(self._config.hydra.launcher, settings.agents_at_once)
                multirun = Multirun(self._config, self._context.config_loader, arguments, settings)
                if settings.dry_run:
                    from wandbsweep.launch.preview import show_multirun

                    return show_multirun(multirun)
                prepared = prepare_sweep(multirun)
                tell_directory(self._config, prepared.directory)  # to on_multirun_end
                session = Session(prepared, settings, launcher=launcher_class)
                launcher = self._make_launcher(session, random_numbers)
        except SweepError as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        with hide_agents_as_jobs(launcher):
            jobs = session.run(lambda overrides, first: launcher.launch(overrides, initial_job_idx=first))
        if prepared.is_plain:
            for job in jobs:
                _ = job.return_value  # raises what the trial raised, as Hydra's own sweeper does
        return [jobs]

    def _make_launcher(self, session: Any, random_numbers: Any) -> Any:
        """Return the configured launcher, set up to run agents from the sweep's snapshot, without callbacks."""
        from wandbsweep.agent.task import AgentTask
        from wandbsweep.bridge.hydra_private import make_callbacks
        from wandbsweep.bridge.snapshot import make_agent_master, open_snapshot

        prepared = session.prepared
        task = AgentTask(
            directory=prepared.directory,
            task_function=self._task,
            master=self._config,
            callbacks=self._context.callbacks,
            count=session.settings.count,
            keep=prepared.is_plain,
            isolation=session.isolation,
            preload=session.settings.preload,
            devices=session.devices,
            detached=session.settings.detach,
            output=session.settings.output,
            random_numbers=random_numbers,
        )
        loader = open_snapshot(prepared.record, prepared.directory)
        return Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=loader, callbacks=make_callbacks()),
            task_function=task,
            config=make_agent_master(self._config, prepared.record, prepared.directory),
        )
