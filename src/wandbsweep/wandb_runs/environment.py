"""The environment variables with which ``wandb.init()`` in a trial's process opens that trial's run.

W&B links a run to its sweep by environment variables alone and reads them once per process, so a process that runs
several trials applies ``apply_environment`` around each of them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wandbsweep.current import current_trial
from wandbsweep.environment import set_variables
from wandbsweep.text import describe_error
from wandbsweep.wandb_runs.writer import STOP_REASON_KEY, RunWriter

log = logging.getLogger(__name__)

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
        try:
            wandb.teardown()
        except (Exception, SystemExit) as error:  # it exits if its helper process was killed, and so would the agent
            log.warning("wandb's helper process did not end well: %s", describe_error(error))


@contextmanager
def forget_wandb() -> Iterator[None]:
    """Drop the state that wandb gets in a ``with`` block: it reads its settings from the environment only once.

    What wandb already had, from the application's script, stays.
    """
    was_used = _find_setup() is not None
    try:
        yield
    finally:
        if not was_used and _find_setup() is not None:
            drop_wandb_state()


class TrialRuns:
    """The W&B runs that a trial opens in this process."""

    def __init__(self) -> None:
        """Note which runs are open before the trial."""
        self._others = _list_open_runs()
        self._url: str | None = None

    def _list_own(self) -> list[Any]:
        writers = RunWriter.open
        return [run for run in _list_open_runs() if run not in self._others and not any(w.writes(run) for w in writers)]

    def note_url(self) -> str | None:
        """Return the page at W&B of the run that the trial has open, or had at the last call; None: it has none."""
        self._url = next((str(run.url) for run in self._list_own() if not run.offline and run.url), self._url)
        return self._url

    def finish(self, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None:
        """End the trial's runs that are still open, as its process would if it had one of its own.

        Args:
            exit_code: The trial's; 0 is a success.
            stopped: Why the sweep stopped the trial early; empty: it did not.
            preempted: Whether the trial is to be resumed.
        """
        for run in self._list_own():
            try:
                if stopped:
                    run.summary[STOP_REASON_KEY] = stopped
                elif run.summary.get(STOP_REASON_KEY):
                    run.summary[STOP_REASON_KEY] = ""  # an earlier attempt was frozen
                if preempted:
                    run.mark_preempting()
                run.finish(exit_code=exit_code)
            except Exception as error:  # SLURM's TERM may have ended wandb's helper process, too
                log.warning("The W&B run %s could not be finished: %s", run.id, error)


def _find_setup() -> Any:
    """Return wandb's state in this process; None: wandb has none, or only that of the process that forked this one."""
    setup = getattr(sys.modules.get("wandb.sdk.wandb_setup"), "_singleton", None)
    return setup if getattr(setup, "_pid", None) == os.getpid() else None


def _list_open_runs() -> list[Any]:
    """Return this process's unfinished runs. wandb's public interface shows only one of them."""
    return list(getattr(_find_setup(), "_active_runs", []))


def find_active_run() -> str | None:
    """Return the id of the run that this process has open."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return None if run is None else str(run.id)
