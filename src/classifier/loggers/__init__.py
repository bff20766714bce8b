"""Loggers for a run's metrics. A logger that is opened here is closed here, since trials may share a process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from classifier.instantiate import instantiate
from classifier.loggers.wandb import finish, wandb_logger, wandb_mode
from wandbsweep.current import Preempted, current_trial

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

__all__ = ["is_wandb", "open_loggers", "wandb_logger", "wandb_mode"]


@contextmanager
def open_loggers(cfg: DictConfig) -> Iterator[list[Logger]]:
    """Open the loggers that ``cfg.logger`` describes, and log the configuration. A W&B run ends with the block.

    ``cfg.logger`` may be a logger itself, as for W&B, and each of its keys may hold a further one.
    """
    exit_code: int | None = 1
    try:
        yield _open(cfg)
        exit_code = 0
    except Preempted:
        exit_code = 0 if current_trial().decision.freezes else None
        raise
    finally:
        if is_wandb(cfg):
            finish(exit_code)


def _open(cfg: DictConfig) -> list[Logger]:
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.loggers.logger import DummyLogger

    if not cfg.get("logger"):
        return []
    if cfg.trainer.get("fast_dev_run"):  # a test of the code, of which Lightning logs nothing
        return [DummyLogger()]
    settings = OmegaConf.to_container(cfg.logger, resolve=True)
    assert isinstance(settings, dict)
    made = {name: instantiate(value) for name, value in settings.items() if isinstance(value, Mapping)}
    others = [value for value in made.values() if isinstance(value, Logger)]
    parameters = _flatten(cfg)
    for other in others:
        other.log_hyperparams(parameters)
    if "_target_" not in settings:
        return others
    options = {name: value for name, value in settings.items() if not isinstance(made.get(name), Logger)}
    if is_wandb(cfg):  # it shows the configuration as it is
        return [instantiate(options, _partial_=True)(cfg=cfg), *others]
    first = instantiate(options)
    first.log_hyperparams(parameters)
    return [first, *others]


def is_wandb(cfg: DictConfig) -> bool:
    """Whether ``cfg.logger`` is ``wandb_logger``."""
    return bool(cfg.get("logger")) and cfg.logger.get("_target_") == f"{__name__}.wandb_logger"


def _flatten(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration under the keys that overrides use: ``{"optimizer.lr": 0.01}``."""

    def flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, dict) or not value:
            yield prefix, value
            return
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))

    return dict(flatten(OmegaConf.to_container(cfg, resolve=True), ""))
