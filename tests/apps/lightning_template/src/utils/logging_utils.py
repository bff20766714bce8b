"""Which parts of the configuration loggers save."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf


@rank_zero_only
def log_hyperparameters(objects: dict[str, Any]) -> None:
    cfg = OmegaConf.to_container(objects["cfg"])
    found = {key: cfg.get(key) for key in ("model", "data", "trainer", "callbacks", "extras", "task_name", "tags")}
    found["model/params/total"] = sum(p.numel() for p in objects["model"].parameters())
    for logger in objects["trainer"].loggers:
        logger.log_hyperparams(found)
