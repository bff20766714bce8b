"""The environment variables with which ``wandb.init()`` in a trial's process opens that trial's run.

W&B links a run to its sweep by environment variables alone and reads them once per process, so a process that runs
several trials applies ``apply_environment`` around each of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from wandbsweep.current import current_trial
from wandbsweep.environment import set_variables
from wandbsweep.wandb_runs.writer import RunWriter

STOPPED_BY_WANDB = "W&B stopped the run"
"""The reason of a stop that W&B decided, since W&B gives none."""


@contextmanager
def apply_environment(environment: Mapping[str, str] | None) -> Iterator[None]:
    """Apply a trial's environment to this process for a ``with`` block; None: do nothing.

    wandb's state in this process is reset before and after, so that each trial gets a run of its own. Blocks must
    not overlap, since the environment belongs to the whole process.
    """
    if environment is None:
        yield
        return
    drop_wandb_state()
    with set_variables(environment):
        if wandb := sys.modules.get("wandb"):
            # By default W&B's client sends Ctrl-C to its own process to stop a run, which would end the whole agent.
            wandb.setup(wandb.Settings(stop_fn=lambda: current_trial().stop(STOPPED_BY_WANDB)))
        try:
            yield
        finally:
            drop_wandb_state()


def drop_wandb_state() -> None:
    """End this process's runs and drop wandb's settings, if the process has imported wandb at all.

    While a ``RunWriter`` is open, nothing is done: under ``isolation=none`` the agent's writers share the trial's
    process, and ``wandb.teardown()`` would end their runs too.
    """
    wandb = sys.modules.get("wandb")
    if wandb is not None and not RunWriter.open:
        wandb.teardown()


def find_active_run() -> str | None:
    """Return the id of the run that this process has open."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return None if run is None else str(run.id)
