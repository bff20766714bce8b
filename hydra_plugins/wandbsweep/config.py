"""Hydra's schema of ``hydra.sweeper.*``, made from ``wandbsweep.settings``, which documents each key."""

from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore

from wandbsweep.settings import FOREIGN_KEYS, Settings

_TYPES = get_type_hints(Settings)

# Not a subclass: OmegaConf makes the nodes of a frozen dataclass read-only, and users override them.
WandbSweeperConf = make_dataclass(
    "WandbSweeperConf",
    [
        ("_target_", str, field(default="hydra_plugins.wandbsweep.sweeper.WandbSweeper")),
        ("_recursive_", bool, field(default=False)),  # projects may have the Optuna sweeper's sampler there
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
        *((key, Any, field(default=None)) for key in FOREIGN_KEYS),  # a project of another sweeper has them
    ],
)
WandbSweeperConf.__module__ = __name__  # configurations are pickled with the class that they name

# The application's hydra/sweeper/wandbsweep/settings.yaml is merged into it. A file hydra/sweeper/wandbsweep.yaml
# would not do: Hydra warns of a file that has the name of a stored node.
ExtensibleConf = make_dataclass(
    "ExtensibleConf",
    [
        (
            "defaults",
            list[Any],
            field(default_factory=lambda: ["_self_", {"optional wandbsweep@_here_": "settings"}]),
        )
    ],
    bases=(WandbSweeperConf,),
)
ExtensibleConf.__module__ = __name__

ConfigStore.instance().store(group="hydra/sweeper", name="wandbsweep", node=ExtensibleConf, provider="wandbsweep")
