"""Registers ``hydra/sweeper=wandbsweep``, the resolver ``${wandbsweep:KEY}``, and one that the schema uses.

They are registered here, since a process of joblib's or submitit's imports this package only because it
unpickles Hydra's plugins.
"""

from __future__ import annotations

import inspect
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


def read_run_option(key: str, otherwise: Any = None) -> Any:
    """Return an option of the current trial's W&B run, ``current_trial().wandb[key]``, for any project's configuration.

    Args:
        key: ``group``, ``name``, ``id``, ``resume`` or ``tags``.
        otherwise: The value outside a sweep. Tags are added to those of the sweep.

    Returns:
        The value. A trial in a sweep of W&B's own has no ``id`` and no ``resume``, since W&B has chosen the run.

    Raises:
        ValueError: There is no such option.
    """
    from wandbsweep.current import WANDB_OPTIONS, current_trial

    if key not in WANDB_OPTIONS:
        raise ValueError(f"${{wandbsweep:{key}}}: the keys are {', '.join(WANDB_OPTIONS)}")
    options = current_trial().wandb
    if key == "tags" and options:
        return [*(otherwise or []), *options[key]]
    return options.get(key, None if options else otherwise)


def show_config(*, _root_: Any, _parent_: Any) -> bool:
    """Prepare ``hydra.sweeper`` for Hydra, which resolves a copy of it when it makes the sweeper.

    ``${hydra:KEY}`` must resolve there, but its resolver reads HydraConfig, which Hydra has not set yet.
    ``WandbSweeper.setup`` removes this one. The sweep configuration must not be resolved as a whole: the sweeper reads
    the original, and resolves it by its own rules.

    Returns:
        False, the value of ``hydra.sweeper._recursive_``, which is resolved before the settings.
    """
    if HydraConfig.instance().cfg is None:
        HydraConfig.instance().cfg = _root_
    if _parent_ is not _root_.hydra.sweeper:
        _parent_.sweep = {}
    return False


# OmegaConf 2.4 warns of the old name. Before 2.4, the new name was that of another function, which could not replace.
_IS_RENAMED = "replace" in inspect.signature(OmegaConf.register_resolver).parameters
_register: Any = OmegaConf.register_resolver if _IS_RENAMED else OmegaConf.register_new_resolver
_register("wandbsweep", read_run_option, replace=True)
_register("wandbsweep_show_config", show_config, replace=True)
