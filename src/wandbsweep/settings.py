"""What a user says under ``hydra.sweeper.*``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from wandbsweep.errors import SweepError

CONTROLLERS = ("embedded", "wandb")
ISOLATIONS = ("process", "none")

LEASE_S = 60.0
MAX_ATTEMPTS = 3
MAX_FAILURES = 5

_SHORTEST_LEASE_S = 1.0  # a busy machine's threads wait for each other for a good part of that


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
    gpus_per_agent: int | None = None
    lease_s: float = LEASE_S
    max_attempts: int = MAX_ATTEMPTS
    max_failures: int = MAX_FAILURES
    detach: bool = False
    endless: bool = False
    isolation: str | None = None

    def __post_init__(self) -> None:
        faults = [fault for fault in map(self._fault, fields(self)) if fault]
        if faults:
            raise SweepError("\n".join(f"hydra.sweeper.{fault}" for fault in faults))

    def _fault(self, key: Any) -> str | None:
        value = getattr(self, key.name)
        if key.name == "controller" and value not in CONTROLLERS:
            return f"controller: the value is {value!r}; the choices are {', '.join(CONTROLLERS)}"
        positive = ("agents", "count", "gpus_per_agent", "max_attempts", "max_failures")
        if key.name in positive and value is not None and value < 1:
            return f"{key.name}: the value is {value}, but must be an integer >= 1"
        if key.name == "lease_s" and not value >= _SHORTEST_LEASE_S:
            return f"lease_s: the value is {value}, but must be at least {_SHORTEST_LEASE_S:g} seconds"
        if key.name == "isolation" and value is not None and value not in ISOLATIONS:
            return f"isolation: the value is {value!r}; the choices are {', '.join(ISOLATIONS)}, or null"
        if key.name == "seed" and value is not None and value < 0:
            return f"seed: the value is {value}, but must be an integer >= 0"
        return None
