"""What a user says under ``hydra.sweeper.*``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from wandbsweep.errors import SweepError

CONTROLLERS = ("embedded",)


@dataclass(frozen=True)
class Settings:
    """The sweeper's configuration; the plugin's ``config.py`` says what each key means."""

    controller: str = "embedded"
    sweep: Mapping[str, Any] = field(default_factory=dict)
    sweep_id: str | None = None
    agents: int | None = None
    count: int | None = None
    storage: str | None = None
    seed: int | None = None
    max_failures: int = 5
    endless: bool = False

    def __post_init__(self) -> None:
        faults = [fault for fault in map(self._fault, fields(self)) if fault]
        if faults:
            raise SweepError("\n".join(f"hydra.sweeper.{fault}" for fault in faults))

    def _fault(self, key: Any) -> str | None:
        value = getattr(self, key.name)
        if key.name == "controller" and value not in CONTROLLERS:
            return f"controller: the value is {value!r}; the choices are {', '.join(CONTROLLERS)}"
        if key.name in ("agents", "count", "max_failures") and value is not None and value < 1:
            return f"{key.name}: the value is {value}, but must be an integer >= 1"
        if key.name == "seed" and value is not None and value < 0:
            return f"seed: the value is {value}, but must be an integer >= 0"
        return None
