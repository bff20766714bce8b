"""Callbacks and loggers from their configurations."""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig


def instantiate_each(configs: DictConfig | None) -> list[Any]:
    """Return what each entry with a ``_target_`` describes."""
    if not configs:
        return []
    if not isinstance(configs, DictConfig):
        raise TypeError("The configuration must be a DictConfig!")
    return [hydra.utils.instantiate(config) for config in configs.values() if "_target_" in config]
