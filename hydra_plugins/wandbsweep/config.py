"""Hydra's schema of ``hydra.sweeper.*``, made from ``wandbsweep.settings``, which documents each key."""

import re
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import StringNode

from wandbsweep.settings import FOREIGN_KEYS, Settings

_TYPES = get_type_hints(Settings)
_SWEEPER = "hydra_plugins.wandbsweep.sweeper.WandbSweeper"
_OTHER_SWEEPER = re.compile(r"hydra_plugins\.hydra_\w*sweeper\.|hydra\._internal\.core_plugins\.basic_sweeper\.")


class TargetNode(StringNode):
    """``hydra.sweeper._target_``: still this sweeper if the project's configuration names the class of another one.

    Projects of other sweepers do, next to their settings, and ``hydra/sweeper=wandbsweep`` is what the user chooses.
    """

    replaced: str | None = None
    """The class of another sweeper that the configuration names."""

    def _validate_and_convert_impl(self, value: Any) -> str:
        text = super()._validate_and_convert_impl(value)
        is_other = _OTHER_SWEEPER.match(text) is not None
        self.__dict__["replaced"] = text if is_other else None
        return _SWEEPER if is_other else text

    def __deepcopy__(self, memo: dict[int, Any]) -> "TargetNode":
        copied = TargetNode()
        self._deepcopy_impl(copied, memo)
        copied.__dict__["replaced"] = self.replaced
        return copied


# Not a subclass: OmegaConf makes the nodes of a frozen dataclass read-only, and users override them.
WandbSweeperConf = make_dataclass(
    "WandbSweeperConf",
    [
        ("_target_", str, field(default_factory=lambda: TargetNode(_SWEEPER))),
        # False: projects may have the Optuna sweeper's sampler there.
        ("_recursive_", bool, field(default="${wandbsweep_show_config:}")),
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
# would not do: Hydra warns of a file that has the name of a stored node. A project of the Optuna sweeper may choose
# one of its samplers.
ExtensibleConf = make_dataclass(
    "ExtensibleConf",
    [
        (
            "defaults",
            list[Any],
            field(
                default_factory=lambda: [
                    "_self_",
                    {"optional wandbsweep@_here_": "settings"},
                    {"optional sampler": None},
                ]
            ),
        )
    ],
    bases=(WandbSweeperConf,),
)
ExtensibleConf.__module__ = __name__

ConfigStore.instance().store(group="hydra/sweeper", name="wandbsweep", node=ExtensibleConf, provider="wandbsweep")
