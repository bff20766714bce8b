"""Assigns the GPUs of one machine to its agents."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from wandbsweep.errors import SweepError
from wandbsweep.launchers import VISIBLE_DEVICES, find_profile
from wandbsweep.settings import Settings


def assign_devices(launcher: str, settings: Settings, agents: int) -> list[str]:
    """Return each agent's ``CUDA_VISIBLE_DEVICES``, in turn.

    Args:
        launcher: The launcher's class, by its full name.
        settings: The sweeper's settings.
        agents: The number of agents.

    Returns:
        One value for each agent; none if ``gpus_per_agent`` is not set, and agents see what the launcher shows them.

    Raises:
        SweepError: There are not enough devices, or the launcher's scheduler assigns them.
    """
    if settings.gpus_per_agent is None:
        return []
    if find_profile(launcher).assigns_gpus:
        raise SweepError(
            "hydra.sweeper.gpus_per_agent is for the agents of one machine; SLURM gives each job its own GPUs: "
            f"hydra.launcher.gpus_per_node={settings.gpus_per_agent}"
        )
    return split_devices(list_devices(), settings.gpus_per_agent, agents)


def list_devices() -> list[str]:
    """Return the GPUs that this process may use: those of ``CUDA_VISIBLE_DEVICES``, or, if it is not set, all."""
    if (visible := os.environ.get(VISIBLE_DEVICES)) is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)


def split_devices(devices: Sequence[str], per_agent: int, agents: int) -> list[str]:
    """Split ``devices`` among agents.

    Args:
        devices: The devices' names.
        per_agent: How many devices each agent gets for itself.
        agents: The number of agents.

    Returns:
        Each agent's devices, separated by commas.

    Raises:
        SweepError: There are not enough devices.
    """
    if len(devices) < per_agent * agents:
        there = f"there are {len(devices)} ({', '.join(devices)})" if devices else "there is none"
        raise SweepError(
            f"hydra.sweeper.gpus_per_agent: {agents} agents with {per_agent} GPUs each need {per_agent * agents}, but "
            f"{there}; at most {len(devices) // per_agent} agents can have their own (hydra.sweeper.agents)"
        )
    return [",".join(devices[k * per_agent : (k + 1) * per_agent]) for k in range(agents)]
