"""The state of Hydra in this process that a task may change.

Resolvers and stored configurations that a task registers stay, as under Hydra's basic launcher: a task that registers
them once per process, by a variable of its own, needs them in later trials too.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from wandbsweep.bridge.hydra_private import get_version_base, set_version_base


class RunningHydra:
    """Which Hydra is initialized, and the version whose behaviour it has. A task may initialize one of its own."""

    name = "hydra"

    def read(self) -> dict[Hashable, Any]:
        return {"initialized": GlobalHydra.instance().hydra, "version_base": get_version_base()}

    def write(self, item: Hashable, value: Any) -> None:
        if item == "initialized":
            GlobalHydra.instance().hydra = value
        else:
            set_version_base(value)


PARTS = (RunningHydra(),)
