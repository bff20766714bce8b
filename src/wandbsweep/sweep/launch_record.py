"""What a sweep was started with: what every agent needs in order to run its trials, now or in a month."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.files import write_atomically
from wandbsweep.settings import LEASE_S, MAX_ATTEMPTS

HIDDEN = ".sweep"
SNAPSHOT = f"{HIDDEN}/conf"
_FILE = f"{HIDDEN}/plan.json"

STUDY = "sweep"
"""The name of the only study in a journal."""


@dataclass(frozen=True)
class LaunchRecord:
    """The part of a sweep that is Hydra's: which configuration its trials are composed from, and how."""

    sweep_id: str
    cwd: str
    """The directory the sweep was started in, where its trials run too."""
    config_name: str | None
    job_name: str
    slots: Sequence[Any]
    """The command line's task overrides (see ``overrides.format_overrides``)."""
    hydra_overrides: Sequence[str]
    """Its overrides of ``hydra.*``."""
    search_path: Sequence[tuple[str, str]]
    searchpath: Sequence[str]
    """``hydra.searchpath``, whose directories are in the snapshot as well."""
    command: Sequence[str]
    """What starts the application: ``["python", "train.py"]``."""
    axes: Mapping[str, Sequence[Any]] | None = None
    """Of a plain comma-list grid: its values, in the order of the command line."""
    strip: Sequence[str] = ()
    """Top-level keys that a trial's configuration is relieved of: the sweep's own."""
    seed: int | None = None
    storage: str | None = None
    max_failures: int | None = None
    lease_s: float = LEASE_S
    max_attempts: int = MAX_ATTEMPTS
    hosted: Mapping[str, str] | None = None
    """Of a sweep at W&B, whose id is ``sweep_id``: its entity and project, and ``begun`` where that was elsewhere."""
    wandb: Mapping[str, Any] | None = None
    """Of an embedded sweep: what W&B shows of it beyond the trials' runs (see ``wandb_runs.page``), and in
    ``sweep`` which sweep there shows those."""

    def save(self, directory: Path) -> None:
        (directory / HIDDEN).mkdir(exist_ok=True)
        write_atomically(directory / _FILE, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, directory: Path) -> LaunchRecord:
        try:
            stored = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SweepDirectoryError(
                f"The sweep in {directory} was not started by Hydra: {_FILE} is missing, so its trials cannot be run."
            ) from None
        except json.JSONDecodeError as error:
            reason = f"line {error.lineno}, column {error.colno}: no valid JSON: {error.msg}"
            raise SweepDirectoryError(f"{directory / _FILE} is damaged: {reason}.") from None
        except (OSError, UnicodeError) as error:
            raise SweepDirectoryError(f"Cannot read {directory / _FILE}: {error}.") from None
        try:
            return cls(**stored)
        except TypeError as error:  # made by another version, or by no version at all
            raise SweepDirectoryError(f"{directory / _FILE} holds no launch record: {error}.") from None

    @classmethod
    def load_if_exists(cls, directory: Path) -> LaunchRecord | None:
        return cls.load(directory) if (directory / _FILE).exists() else None


def read_axes(directory: Path) -> Mapping[str, Sequence[Any]] | None:
    """The axes of the plain grid that ``directory`` holds; None: it holds a sweep with a configuration."""
    plan = LaunchRecord.load_if_exists(directory)
    return plan.axes if plan else None
