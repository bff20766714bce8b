"""A run of a sweep at W&B, and the environment variables that name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SWEEP_ID, RUN_ID, PARAM_PATH = "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"
NAME, RESUME = "WANDB_NAME", "WANDB_RESUME"


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

    def environment(self, param_file: Path) -> dict[str, str]:
        """Return the variables that make ``wandb.init()`` this run; ``param_file`` is written by ``write_params``."""
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
