"""Hydra callbacks that note when they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Recorder(Callback):
    def __init__(self) -> None:
        self.file = Path(os.getcwd(), "fired.txt")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._note("multirun_start")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self._note("multirun_end")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._note(f"job_start {config.hydra.job.num}")

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        self._note(f"job_end {config.hydra.job.num} {job_return.status.name}")

    def _note(self, line: str) -> None:
        with self.file.open("a") as file:
            file.write(f"{line}\n")
