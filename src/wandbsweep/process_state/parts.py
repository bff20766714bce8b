"""A part of a process's state: settings that can be read, and written again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

ABSENT: Final = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()
"""The value of an item that a part does not have."""


class Part(Protocol):
    """Some of the state of this process. It imports no library: what is not imported has no state."""

    @property
    def name(self) -> str:
        """What it is, for the user."""

    def read(self) -> dict[Hashable, Any]:
        """Return its present items. Those with the value that a new process has may be left out."""

    def write(self, item: Hashable, value: Any) -> None:
        """Give ``item`` the value that it had; ABSENT: ``read`` did not return it."""


Access = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]
"""How to read a setting of a module, and how to write it."""


@dataclass(frozen=True)
class ModuleSettings:
    """ModuleSettings of one module, which are read and written by its functions."""

    module: str
    table: Mapping[str, Access]

    @property
    def name(self) -> str:
        return self.module

    def read(self) -> dict[Hashable, Any]:
        module, found = sys.modules.get(self.module), dict[Hashable, Any]()
        for item, (get, _) in self.table.items() if module else ():
            try:
                found[item] = get(module)
            except Exception:  # this version of the library lacks it, or another thread still imports it
                continue
        return found

    def write(self, item: Hashable, value: Any) -> None:
        if value is not ABSENT:
            self.table[str(item)][1](sys.modules[self.module], value)


def make_attributes(*names: str) -> dict[str, Access]:
    """Return how to read and write attributes; a dot leads into an attribute of an attribute."""
    return {name: _make_attribute(*name.rpartition(".")[::2]) for name in names}


def _make_attribute(path: str, name: str) -> Access:
    def find(module: Any) -> Any:
        for step in path.split(".") if path else ():
            module = getattr(module, step)
        return module

    return lambda module: getattr(find(module), name), lambda module, value: setattr(find(module), name, value)


def make_lists(*names: str) -> dict[str, Access]:
    """Return how to read and write what is in lists that are attributes; the lists stay the same objects."""
    return {f"{name}[:]": _make_list(name) for name in names}


def _make_list(name: str) -> Access:
    def write(module: Any, value: Any) -> None:
        getattr(module, name)[:] = value

    return lambda module: tuple(getattr(module, name)), write


def make_functions(**setters: str) -> dict[str, Access]:
    """Return how to read and write settings by pairs of functions, given as ``getter="setter"``."""
    return {getter: _make_functions(getter, setter) for getter, setter in setters.items()}


def _make_functions(getter: str, setter: str) -> Access:
    return lambda module: getattr(module, getter)(), lambda module, value: getattr(module, setter)(value)
