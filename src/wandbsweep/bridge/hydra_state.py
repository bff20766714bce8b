"""The state of Hydra and OmegaConf in this process that a task may change."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from wandbsweep.bridge.hydra_private import get_resolvers, get_version_base, set_version_base
from wandbsweep.process_state.parts import ABSENT


class Resolvers:
    """OmegaConf's resolvers: a task may register one that another trial's task registers as well."""

    name = "resolver"

    def read(self) -> dict[Hashable, Any]:
        return dict[Hashable, Any](get_resolvers().items())

    def write(self, item: Hashable, value: Any) -> None:
        if value is ABSENT:
            del get_resolvers()[str(item)]
        else:
            get_resolvers()[str(item)] = value


class StoredConfigs:
    """What is in Hydra's ConfigStore."""

    name = "ConfigStore"

    def read(self) -> dict[Hashable, Any]:
        return dict(_walk(ConfigStore.instance().repo, ()))

    def write(self, item: Hashable, value: Any) -> None:
        assert isinstance(item, tuple)
        place: Any = ConfigStore.instance().repo
        for step in item[:-1]:
            place = place.setdefault(step, {})
        if value is ABSENT:
            place.pop(item[-1], None)
        else:
            place[item[-1]] = value


def _walk(repo: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Hashable, Any]]:
    for name, node in repo.items():
        if isinstance(node, dict):
            yield from _walk(node, (*path, name))
        else:
            yield (*path, name), node


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


PARTS = (Resolvers(), StoredConfigs(), RunningHydra())
