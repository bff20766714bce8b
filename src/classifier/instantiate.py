"""``instantiate``: makes what a configuration names by ``_target_``, as each version of Hydra wants it."""

from __future__ import annotations

import inspect
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf

TRUSTED = ["lightning.*", "torch.*", "torchmetrics.*", "torchvision.*", "wandb.*"]
"""What a configuration may name besides this repository's own modules. Hydra 1.4 and later refuse any other target:
values of a sweep may come from a server. Add the packages that your configurations use."""

_SOURCES = [Path(__file__).parents[1], Path(__file__).parents[2]]
"""``src/``, and the directory of ``train.py``."""


def instantiate(config: Any, *args: Any, **kwargs: Any) -> Any:
    """Call Hydra's ``instantiate``, and trust ``TRUSTED`` and this repository's modules."""
    return hydra.utils.instantiate(config, *args, **kwargs, **_make_whitelist())


def detach(config: DictConfig) -> DictConfig:
    """Return a copy to edit, with all interpolations resolved, that has no parent.

    A copy that has one will not do: with ``_partial_`` Hydra 1.4 reads the parent, where the original still is.
    """
    detached = OmegaConf.create(OmegaConf.to_container(config, resolve=True), flags={"allow_objects": True})
    assert isinstance(detached, DictConfig)
    return detached


@cache
def _make_whitelist() -> dict[str, list[str]]:
    """Make Hydra's option; none if this Hydra, older than 1.4, would pass it on to the target."""
    if "_execution_whitelist_" not in inspect.signature(hydra.utils.instantiate).parameters:
        return {}
    own = [f"{module.name}.*" for module in pkgutil.iter_modules(map(str, _SOURCES))]
    return {"_execution_whitelist_": [*TRUSTED, *own]}
