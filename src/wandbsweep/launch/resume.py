"""Going on with a sweep: the command that joins it, from another terminal or machine or after everything died."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from wandbsweep.bridge.override_strings import encode
from wandbsweep.results.sweep_results import run_overrides
from wandbsweep.sweep.directory import OUTPUTS
from wandbsweep.sweep.launch_record import LaunchRecord


def join_command(plan: LaunchRecord, directory: Path) -> str:
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
