"""The parameter file of a W&B run, in the format that ``wandb agent`` writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wandbsweep.files import write_atomically

OWN_KEYS = ("_wandb", "wandb_version")
"""Keys that W&B adds to a run's parameters."""


def write_params(path: Path, args: Mapping[str, Any]) -> None:
    """Write ``args`` (name -> {"value": value}) to ``path``. W&B locks these keys in the run's config."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = yaml.safe_dump(dict(args), sort_keys=False, allow_unicode=True) if args else ""
    write_atomically(path, f"wandb_version: 1\n\n{values}")


def read_params(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the values in a parameter file by name; null, lists and booleans keep their type."""
    stored = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    return {
        name: given["value"]
        for name, given in stored.items()
        if name not in OWN_KEYS and isinstance(given, dict) and "value" in given
    }
