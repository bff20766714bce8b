"""What is done around each task."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from src.utils import rich_utils
from src.utils.pylogger import RankedLogger

log = RankedLogger(__name__, rank_zero_only=True)

Task = Callable[[DictConfig], tuple[dict[str, Any], dict[str, Any]]]


def extras(cfg: DictConfig) -> None:
    if not cfg.get("extras"):
        return
    if cfg.extras.get("ignore_warnings"):
        warnings.filterwarnings("ignore")
    if cfg.extras.get("enforce_tags"):
        rich_utils.enforce_tags(cfg)
    if cfg.extras.get("print_config"):
        rich_utils.print_config_tree(cfg)


def task_wrapper(task: Task) -> Task:
    """Log what the task raises, and close W&B's run whatever happens, so that it does not disturb the next job."""

    def wrap(cfg: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return task(cfg)
        except Exception:
            log.exception("")
            raise
        finally:
            log.info(f"Output dir: {cfg.paths.output_dir}")
            if find_spec("wandb"):
                import wandb

                if wandb.run:
                    log.info("Closing wandb!")
                    wandb.finish()

    return wrap


def get_metric_value(metrics: Mapping[str, Any], name: str | None) -> float | None:
    if not name:
        log.info("Metric name is None! Skipping metric value retrieval...")
        return None
    if name not in metrics:
        raise Exception(f"Metric value not found! <metric_name={name}>")
    return float(metrics[name].item())
