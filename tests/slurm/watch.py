"""A Hydra callback that notes where and when each trial ran."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURMD_NODENAME", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


class Watch(Callback):
    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        where = {name: os.environ.get(name) for name in VARIABLES}
        self._note(config, began=time.time(), pid=os.getpid(), **where)

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        self._note(config, pid=os.getpid(), ended=time.time())

    def _note(self, config: DictConfig, **seen: Any) -> None:
        with Path(config.hydra.runtime.output_dir, "watched.jsonl").open("a") as file:
            file.write(json.dumps(seen) + "\n")


def read(trial: Path) -> list[dict[str, Any]]:
    """An entry for each start: `began`, `pid`, VARIABLES and, unless it was killed, `ended`."""
    starts: list[dict[str, Any]] = []
    for line in (trial / "watched.jsonl").read_text().splitlines():
        seen = json.loads(line)
        if "began" in seen:
            starts.append(seen)
        else:
            next(start for start in reversed(starts) if start["pid"] == seen["pid"]).update(seen)
    return starts
