"""The commands of ``wandbsweep``: their definition, and how they find their sweep."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import SweepData


@dataclass(frozen=True)
class Command:
    """One command. Its module imports nothing heavy before ``run``, so that the command line starts quickly."""

    name: str
    about: str
    """One sentence for ``--help``."""
    run: Callable[[argparse.Namespace], int]
    """Takes the parsed options and returns the exit status."""
    add_arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None
    """Adds options of the command's own; ``--json`` is there already."""
    takes_sweep: bool = True
    """Whether the first argument names a sweep."""


def read_sweep(options: argparse.Namespace) -> SweepData:
    """Read the sweep that the command names."""
    from wandbsweep.results.reader import SweepReader

    return SweepReader(locate_sweep(options)).read()


def locate_sweep(options: argparse.Namespace) -> str | Path:
    """Return the sweep that the command names, by default the newest one in ``outputs/``."""
    from wandbsweep.errors import SweepDirectoryError
    from wandbsweep.sweep.directory import OUTPUTS, list_sweeps

    if options.sweep is not None:
        return str(options.sweep)
    newest = next(iter(list_sweeps()), None)
    if newest is None:
        raise SweepDirectoryError(f"There is no sweep in {OUTPUTS.absolute()}; name a sweep's directory.")
    return newest


def print_json(data: Any, *, indent: int | None = 2) -> None:
    print(json.dumps(replace_nonfinite(data), indent=indent, ensure_ascii=False), flush=True)


def replace_nonfinite(data: Any) -> Any:
    """Return ``data`` with None for the numbers that JSON does not have: NaN and infinities."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: replace_nonfinite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [replace_nonfinite(item) for item in data]
    return data
