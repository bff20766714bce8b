"""The shell command that joins or resumes a sweep."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from wandbsweep.sweep.directory import OUTPUTS
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.override_strings import format_value

# Overrides of the multirun, its launcher and its sweeper.
_MULTIRUN_ONLY = re.compile(r"[+~]*hydra[./](sweeper|launcher|sweep|mode)\b")


def join_command(record: LaunchRecord, directory: Path) -> str:
    """Return the shell command that joins the sweep in ``directory``, from the current working directory."""
    # A relative script and the default outputs/ are found from the directory in which the sweep was started.
    command, cwd = record.application.command, record.application.cwd
    is_script = any(word.endswith(".py") and not os.path.isabs(word) for word in command)
    is_default = is_script and directory == Path(cwd, OUTPUTS, record.sweep_id)
    place = [] if is_default else [f"hydra.sweep.dir={format_value(str(directory))}"]
    sweep = [f"hydra.sweeper.sweep_id={record.sweep_id}"]
    if record.hosted:  # the full path: another machine has no such directory, and looks the sweep up at W&B
        path = f"{record.hosted.path}/{record.sweep_id}"
        sweep = ["hydra.sweeper.controller=wandb", f"hydra.sweeper.sweep_id={format_value(path)}"]
    joining = ["-m", "hydra/sweeper=wandbsweep", *sweep]
    line = shlex.join([*command, *joining, *place, *run_overrides(record)])
    return line if os.getcwd() == cwd else f"cd {shlex.quote(cwd)} && {line}"


def run_overrides(record: LaunchRecord) -> list[str]:
    """Return the sweep's overrides of ``hydra.*`` that apply to a single run as well."""
    return [line for line in record.overrides.hydra if not _MULTIRUN_ONLY.match(line)]
