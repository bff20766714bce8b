"""One machine with several GPUs: which of them each agent has for its own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from wandbsweep.errors import SweepError
from wandbsweep.launchers import VISIBLE_DEVICES


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; without it, all that there are."""
    if (named := os.environ.get(VISIBLE_DEVICES)) is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)


def slices(devices: Sequence[str], per_agent: int, agents: int) -> list[str]:
    """What each agent's ``CUDA_VISIBLE_DEVICES`` is: ``per_agent`` devices that no other one has.

    Raises SweepError where there are not enough for ``agents`` of them.
    """
    if len(devices) < per_agent * agents:
        there = f"there are {len(devices)} ({', '.join(devices)})" if devices else "there is none"
        raise SweepError(
            f"hydra.sweeper.gpus_per_agent: {agents} agents with {per_agent} GPUs each need {per_agent * agents}, but "
            f"{there}; at most {len(devices) // per_agent} agents can have their own (hydra.sweeper.agents)"
        )
    return [",".join(devices[k * per_agent : (k + 1) * per_agent]) for k in range(agents)]
