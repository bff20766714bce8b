"""What a Lightning training imports: ``SweepCallback``, and the parts by which it resumes bit for bit.

Each part works without the others, in a sweep and outside. A part is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandbsweep.lightning.callback import SweepCallback
    from wandbsweep.lightning.checkpoints import AtomicCheckpointIO, BestCheckpoint, is_intact, trust_checkpoint
    from wandbsweep.lightning.loader import EpochBatches, Position, ResumableLoader
    from wandbsweep.lightning.reproducible import Reproducible

_HOMES = {
    "AtomicCheckpointIO": "checkpoints",
    "BestCheckpoint": "checkpoints",
    "EpochBatches": "loader",
    "Position": "loader",
    "Reproducible": "reproducible",
    "ResumableLoader": "loader",
    "SweepCallback": "callback",
    "is_intact": "checkpoints",
    "trust_checkpoint": "checkpoints",
}

__all__ = [
    "AtomicCheckpointIO",
    "BestCheckpoint",
    "EpochBatches",
    "Position",
    "Reproducible",
    "ResumableLoader",
    "SweepCallback",
    "is_intact",
    "trust_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
