"""A run of a sweep at W&B: the environment variables and the parameter file that make ``wandb.init()`` this run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wandbsweep.files import write_atomically

SWEEP_ID, RUN_ID, PARAM_PATH = "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"
NAME, RESUME = "WANDB_NAME", "WANDB_RESUME"
OWN_KEYS = ("_wandb", "wandb_version")
"""Keys that W&B adds to a run's parameters."""


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep at W&B."""

    sweep_id: str
    run_id: str
    entity: str
    project: str
    args: Mapping[str, Any] = field(default_factory=dict)
    """name -> {"value": value}."""
    name: str | None = None
    """The name that W&B's pages show."""
    attempt: int = 1
    resumes: bool = False
    """Whether wandb continues what an earlier attempt wrote."""

    def prepare(self, param_file: Path) -> dict[str, str]:
        """Write ``param_file`` and return the environment that makes ``wandb.init()`` this run."""
        write_params(param_file, self.args)
        found = {
            SWEEP_ID: self.sweep_id,
            RUN_ID: self.run_id,
            "WANDB_ENTITY": self.entity,
            "WANDB_PROJECT": self.project,
            PARAM_PATH: str(param_file),
        }
        if self.name:
            found[NAME] = self.name
        if self.resumes:
            found[RESUME] = "allow"
        return found


def write_params(path: Path, args: Mapping[str, Any]) -> None:
    """Write ``args`` (name -> {"value": value}) to ``path``, as ``wandb agent`` does.

    W&B locks these keys in the run's config.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = yaml.safe_dump(dict(args), sort_keys=False, allow_unicode=True) if args else ""
    write_atomically(path, f"wandb_version: 1\n\n{values}")


def read_params(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the values in a parameter file by name; null, lists and booleans keep their type."""
    stored = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    return {
        name: given["value"]
        for name, given in stored.items()
        if name not in OWN_KEYS and isinstance(given, dict) and "value" in given
    }
