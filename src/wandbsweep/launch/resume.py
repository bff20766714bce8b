"""Going on with a sweep: the command that joins it, from another terminal or machine or after everything died."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from wandbsweep.bridge.override_strings import encode
from wandbsweep.results.sweep_results import SweepResults, run_overrides
from wandbsweep.sweep.directory import OUTPUTS, open_controller, storage_of
from wandbsweep.sweep.launch_record import Plan

if TYPE_CHECKING:
    from wandbsweep.controllers.base import SweepController


def join_command(plan: Plan, directory: Path) -> str:
    """For the shell, from the working directory of who reads it."""
    # A script is named relative to where the sweep was started, and its outputs/ are there as well.
    script = any(word.endswith(".py") and not os.path.isabs(word) for word in plan.command)
    usual = script and directory == Path(plan.cwd, OUTPUTS, plan.sweep_id)
    place = [] if usual else [f"hydra.sweep.dir={encode(str(directory))}"]
    named = [f"hydra.sweeper.sweep_id={plan.sweep_id}"]
    if plan.hosted:  # wherever the directory is not known, it is found at W&B
        path = "/".join([plan.hosted["entity"], plan.hosted["project"], plan.sweep_id])
        named = ["hydra.sweeper.controller=wandb", f"hydra.sweeper.sweep_id={encode(path)}"]
    joining = ["-m", "hydra/sweeper=wandbsweep", *named]
    command = shlex.join([*plan.command, *joining, *place, *run_overrides(plan)])
    return command if os.getcwd() == plan.cwd else f"cd {shlex.quote(plan.cwd)} && {command}"


def open_controller_of(results: SweepResults) -> SweepController:
    """The controller of the sweep that was read as ``results``."""
    if results.plan is not None:
        return results.plan.open_controller(results.directory, results.spec)
    url, study = storage_of(results.directory, None)
    return open_controller(results.directory, results.spec, study_name=study, storage=url)
