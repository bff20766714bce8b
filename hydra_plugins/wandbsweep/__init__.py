"""Registers ``hydra/sweeper=wandbsweep`` and the resolver ``${wandbsweep:KEY}``.

The resolver is registered here, since a process of joblib's or submitit's imports this package only because it
unpickles Hydra's plugins.
"""

from __future__ import annotations

from typing import Any

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


OmegaConf.register_new_resolver("wandbsweep", read_run_option, replace=True)
