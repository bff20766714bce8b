"""What a launcher is given to run: an agent, in the shape of a Hydra task function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.plan import Plan


@dataclass(frozen=True)
class AgentTask:
    """Joins the sweep in ``directory`` and runs its trials; launchers pickle it to wherever their jobs run."""

    directory: Path
    task_function: Callable[[Any], Any]
    master: Any
    """The launching command's configuration (omegaconf.DictConfig)."""
    callbacks: Any
    """Its Hydra callbacks."""
    count: int | None = None
    keep: bool = False
    """Whether to return Hydra's JobReturns whole."""

    def __call__(self, config: Any) -> list[tuple[int, Any]]:
        """Run until the sweep is over; returns (number, Hydra's JobReturn) of each trial that ran here."""
        from wandbsweep.agent import run_agent
        from wandbsweep.job import TrialJob, agent_number
        from wandbsweep.sweepdir import read_spec

        plan = Plan.load(self.directory)
        spec = read_spec(self.directory)
        controller = plan.open_controller(self.directory, spec)
        job = TrialJob(
            plan,
            self.directory,
            task_function=self.task_function,
            master=self.master,
            callbacks=self.callbacks,
            keep=self.keep,
        )
        try:
            results = run_agent(
                controller,
                job,
                name=str(agent_number()),
                sweep_id=plan.sweep_id,
                metric=spec.metric.name if spec.metric else None,
                count=self.count,
            )
            return [result.payload for result in results if result.payload is not None]
        finally:
            controller.close()
