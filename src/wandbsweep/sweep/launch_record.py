"""What a sweep was started with: what every agent needs in order to run its trials, now or in a month."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.files import write_atomically
from wandbsweep.settings import LEASE_S, MAX_ATTEMPTS

if TYPE_CHECKING:
    from wandbsweep.bridge.override_strings import Slot
    from wandbsweep.controllers.base import SweepController
    from wandbsweep.spec.sweep_spec import SweepSpec

HIDDEN = ".sweep"
SNAPSHOT = f"{HIDDEN}/conf"
_FILE = f"{HIDDEN}/plan.json"

STUDY = "sweep"
"""The name of the only study in a journal."""


@dataclass(frozen=True)
class Plan:
    """The part of a sweep that is Hydra's: which configuration its trials are composed from, and how."""

    sweep_id: str
    cwd: str
    """The directory the sweep was started in, where its trials run too."""
    config_name: str | None
    job_name: str
    slots: Sequence[Slot]
    """The command line's task overrides (see ``overrides.trial_overrides``)."""
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
    """Of an embedded sweep: what W&B is told of it beside the trials' runs (``wandb_page.page_settings``), and in
    ``sweep`` which sweep there shows those."""

    def save(self, directory: Path) -> None:
        (directory / HIDDEN).mkdir(exist_ok=True)
        write_atomically(directory / _FILE, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, directory: Path) -> Plan:
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
            raise SweepDirectoryError(f"{directory / _FILE} holds no plan of a sweep: {error}.") from None

    @classmethod
    def load_if_any(cls, directory: Path) -> Plan | None:
        return cls.load(directory) if (directory / _FILE).exists() else None

    def open_controller(self, directory: Path, spec: SweepSpec, *, wait_s: float | None = None) -> SweepController:
        """The controller of this sweep, whose directory is ``directory``; ``wait_s``: see ``sweepdir``."""
        if self.hosted is not None:
            from wandbsweep.controllers.hosted.controller import HostedController

            return HostedController(
                spec,
                self.sweep_id,
                entity=self.hosted["entity"],
                project=self.hosted["project"],
                directory=directory,
                max_attempts=self.max_attempts,
                max_failures=self.max_failures,
                elsewhere="begun" in self.hosted,
            )
        from wandbsweep.sweep.directory import open_controller

        return open_controller(
            directory,
            spec,
            study_name=self.sweep_id,
            storage=self.storage,
            seed=self.seed,
            max_failures=self.max_failures,
            axes=self.axes,
            lease_s=self.lease_s,
            max_attempts=self.max_attempts,
            wait_s=wait_s,
        )


def stored_axes(directory: Path) -> Mapping[str, Sequence[Any]] | None:
    """The axes of the plain grid that ``directory`` holds; None: it holds a sweep with a configuration."""
    plan = Plan.load_if_any(directory)
    return plan.axes if plan else None
