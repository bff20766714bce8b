"""Hydra's schema of ``hydra.sweeper.*``, made from ``wandbsweep.settings``, which documents each key."""

from dataclasses import MISSING, field, fields, make_dataclass
from typing import get_type_hints

from hydra.core.config_store import ConfigStore

from wandbsweep.settings import Settings

_TYPES = get_type_hints(Settings)

# Not a subclass: OmegaConf makes the nodes of a frozen dataclass read-only, and users override them.
WandbSweeperConf = make_dataclass(
    "WandbSweeperConf",
    [
        ("_target_", str, field(default="hydra_plugins.wandbsweep.sweeper.WandbSweeper")),
        *(
            (
                key.name,
                _TYPES[key.name],
                field(default=key.default)
                if key.default_factory is MISSING
                else field(default_factory=key.default_factory),
            )
            for key in fields(Settings)
        ),
    ],
)
WandbSweeperConf.__module__ = __name__  # configurations are pickled with the class that they name

ConfigStore.instance().store(group="hydra/sweeper", name="wandbsweep", node=WandbSweeperConf, provider="wandbsweep")
