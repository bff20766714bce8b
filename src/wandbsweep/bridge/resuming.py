"""``hydra.sweeper.resume_key``: tells a resumed trial's job where its checkpoint is, by a key of its configuration."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from wandbsweep.bridge.composition import has_key, list_keys
from wandbsweep.bridge.snapshot import set_key
from wandbsweep.checkpoints import find_checkpoint
from wandbsweep.errors import SpaceError
from wandbsweep.sweep.override_strings import format_value
from wandbsweep.text import suggest_matches


def check_resume_key(config: DictConfig, resume_key: str | None) -> None:
    """Raise SpaceError if there is no such key in ``config``, and the setting does not add it with a ``+``."""
    if resume_key is None or resume_key.startswith("+") or has_key(config, resume_key):
        return
    hint = suggest_matches(resume_key, list_keys(config), most=1) or f"; +{resume_key} adds it"
    raise SpaceError(f"hydra.sweeper.resume_key: {resume_key!r} is not a key of the application's configuration{hint}")


def set_checkpoint(config: DictConfig, resume_key: str) -> None:
    """Set ``resume_key`` to the newest checkpoint in the job's directory, if there is one, as an override would.

    It is no override of the composition, since the job's directory may be named after those.
    """
    checkpoint = find_checkpoint(_find_trial_directory(config))
    if checkpoint is not None:
        OmegaConf.update(config, resume_key.lstrip("+"), str(checkpoint), force_add=True)
        shown = [*config.hydra.overrides.task, f"{resume_key}={format_value(str(checkpoint))}"]
        set_key(config, "hydra.overrides.task", shown)


def _find_trial_directory(config: DictConfig) -> Path:
    """Return where Hydra will run the job."""
    own = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)  # for the resolvers of the directory's name
    try:
        directory, subdirectory = (str(OmegaConf.select(config, f"hydra.sweep.{key}")) for key in ("dir", "subdir"))
    finally:
        HydraConfig.instance().cfg = own
    return Path(os.path.abspath(os.path.join(directory, subdirectory)))
