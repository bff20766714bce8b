"""What a sweep was started with: all that an agent needs to run its trials, now or in a month."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.files import write_atomically
from wandbsweep.settings import LEASE_S, MAX_ATTEMPTS
from wandbsweep.sweep.override_strings import OverrideSlot, format_value, is_for_sweeper, is_sweep_key

HIDDEN = ".sweep"
SNAPSHOT = f"{HIDDEN}/conf"
_FILE = f"{HIDDEN}/plan.json"

OUTPUTS = Path("outputs")
STUDY = "sweep"
"""Name of the only study in a journal."""
UNKNOWN_ID = "ID"
"""What a preview calls a sweep that has no id yet."""

# Overrides of the multirun, its launcher and its sweeper.
_MULTIRUN_ONLY = re.compile(r"[+~]*hydra[./](sweeper|launcher|sweep|mode)\b")


@dataclass(frozen=True)
class Application:
    """How the application is started."""

    cwd: str
    """The directory in which the sweep was started, and in which its trials run."""
    config_name: str | None
    job_name: str
    command: Sequence[str]
    """The words that start it: ``["python", "train.py"]``."""


@dataclass(frozen=True)
class TrialOverrides:
    """What each trial's configuration is composed with."""

    slots: Sequence[OverrideSlot]
    """The command line's task overrides, for ``format_overrides``."""
    hydra: Sequence[str]
    """The command line's overrides of ``hydra.*``."""
    stripped_keys: Sequence[str] = ()
    """Top-level keys that are removed from a trial's configuration: the sweep's own."""
    resume_key: str | None = None
    """The key that is set to the checkpoint in attempts that resume: ``hydra.sweeper.resume_key``."""

    def selects_sweep(self, line: str) -> bool:
        """Return whether a fixed override says what to search, so that it means nothing to a single run.

        A key ``sweep`` that is not stripped is the application's own.
        """
        return is_for_sweeper(line) or bool(self.stripped_keys and is_sweep_key(line))


@dataclass(frozen=True)
class SnapshotPaths:
    """Where the configuration lies in the sweep's snapshot of it."""

    search_path: Sequence[tuple[str, str]] = ()
    """Hydra's search path: provider and path of each source."""
    searchpath: Sequence[str] = ()
    """The entries of ``hydra.searchpath``."""


@dataclass(frozen=True)
class ControllerOptions:
    """How the sweep's controller is opened."""

    plain_grid: Mapping[str, Sequence[Any]] | None = None
    """The values of a comma-list grid without a sweep configuration, in the order of the command line."""
    seed: int | None = None
    storage: str | None = None
    """Optuna storage URL, without a password. None: the journal."""
    max_failures: int | None = None
    lease_s: float = LEASE_S
    max_attempts: int = MAX_ATTEMPTS


@dataclass(frozen=True)
class HostedPlace:
    """Where W&B keeps a sweep whose controller is W&B's. Its id is the record's ``sweep_id``."""

    entity: str
    project: str
    begun: str | None = None
    """``elsewhere`` if the sweep was made on another machine, or by ``wandb sweep``."""

    @property
    def path(self) -> str:
        """``entity/project``."""
        return f"{self.entity}/{self.project}"


@dataclass(frozen=True)
class Program:
    """How ``wandbsweep run`` starts the program of a sweep file."""

    command: Sequence[str]
    """Its words, with W&B's macros (``programs.macros``)."""
    interpreter: str
    """What ``${interpreter}`` stands for."""
    grace_s: float
    """How long a trial's process may take to end after SIGTERM."""


@dataclass(frozen=True)
class LaunchRecord:
    """What a sweep was started with: written when the sweep is created, and read by every process that joins it."""

    sweep_id: str
    application: Application
    overrides: TrialOverrides
    snapshot: SnapshotPaths = SnapshotPaths()
    controller: ControllerOptions = ControllerOptions()
    hosted: HostedPlace | None = None
    wandb: Mapping[str, Any] | None = None
    """If an embedded sweep is shown at W&B: the settings of its page (``wandb_runs.page.read_page_settings``), and in
    ``sweep`` the W&B sweep that holds the trials' runs."""
    directory: str | None = None
    """The sweep's directory when the record was saved. None: an older version saved it."""
    program: Program | None = None
    """The program of the sweep file, if ``wandbsweep run`` started the sweep; None: Hydra did."""
    moved_from: str | None = field(default=None, compare=False)
    """Not stored. The directory in which the sweep was started, if ``application.cwd`` is where it was moved."""

    def join_command(self, directory: Path) -> str:
        """Return the shell command that joins or resumes the sweep in ``directory``, from the working directory."""
        if self.program is not None:
            return self._join_program_command(directory)
        # A relative script and the default outputs/ are found from the directory in which the sweep was started.
        command, cwd = self.application.command, self.application.cwd
        is_script = any(word.endswith(".py") and not os.path.isabs(word) for word in command)
        is_default = is_script and directory == Path(cwd, OUTPUTS, self.sweep_id)
        place = [] if is_default else [f"hydra.sweep.dir={format_value(str(directory))}"]
        sweep = [f"hydra.sweeper.sweep_id={self.sweep_id}"]
        if self.hosted:  # the full path: another machine has no such directory, and looks the sweep up at W&B
            path = f"{self.hosted.path}/{self.sweep_id}"
            sweep = ["hydra.sweeper.controller=wandb", f"hydra.sweeper.sweep_id={format_value(path)}"]
        joining = ["-m", "hydra/sweeper=wandbsweep", *sweep]
        line = shlex.join([*command, *joining, *place, *self.run_overrides()])
        return line if os.getcwd() == cwd else f"cd {shlex.quote(cwd)} && {line}"

    def _join_program_command(self, directory: Path) -> str:
        cwd = self.application.cwd
        is_default = directory == Path(cwd, OUTPUTS, self.sweep_id)
        line = shlex.join([*self.application.command, self.sweep_id if is_default else str(directory)])
        return line if os.getcwd() == cwd else f"cd {shlex.quote(cwd)} && {line}"

    def run_overrides(self) -> list[str]:
        """Return the sweep's overrides of ``hydra.*`` that apply to a single run as well."""
        return [line for line in self.overrides.hydra if not _MULTIRUN_ONLY.match(line)]

    def save(self, directory: Path) -> None:
        (directory / HIDDEN).mkdir(exist_ok=True)
        write_atomically(directory / _FILE, json.dumps(self._to_json(), indent=1))

    @classmethod
    def load(cls, directory: Path) -> LaunchRecord:
        """Read the record of the sweep in ``directory``, whose project may have been moved together with it.

        Raises SweepDirectoryError if there is none, or if it is damaged or of another version.
        """
        try:
            stored = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SweepDirectoryError(
                f"The sweep in {directory} was not started by Hydra: {_FILE} is missing, so its trials cannot be run."
            ) from None
        except json.JSONDecodeError as error:
            reason = f"line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
            raise SweepDirectoryError(f"{directory / _FILE} is damaged: {reason}.") from None
        except (OSError, UnicodeError) as error:
            raise SweepDirectoryError(f"Cannot read {directory / _FILE}: {error}.") from None
        try:
            return cls._from_json(stored)._follow(directory.absolute())
        except (TypeError, AttributeError) as error:
            raise SweepDirectoryError(f"{directory / _FILE} holds no launch record: {error}.") from None

    @classmethod
    def load_if_exists(cls, directory: Path) -> LaunchRecord | None:
        """Read the record of the sweep in ``directory``. None: it was made by ``create_sweep``, without Hydra."""
        return cls.load(directory) if (directory / _FILE).exists() else None

    def move(self, root: Path) -> LaunchRecord:
        """Return the record of the same sweep whose project is in ``root`` now."""
        old = f"{self.application.cwd}{os.sep}"
        command = [
            str(root / word.removeprefix(old)) if word.startswith(old) else word for word in self.application.command
        ]
        storage = self.controller.storage
        head, separator, file = (storage or "").partition(f":///{old}")
        if separator and (root / file).exists():  # a file of SQLite
            storage = f"{head}:///{root / file}"
        return replace(
            self,
            application=replace(self.application, cwd=str(root), command=command),
            controller=replace(self.controller, storage=storage),
            moved_from=self.application.cwd,
        )

    def _follow(self, directory: Path) -> LaunchRecord:
        """Return the record with the project's present directory, if it was moved or copied, ``directory`` with it."""
        cwd = Path(self.application.cwd)
        place = Path(self.directory) if self.directory else cwd / OUTPUTS / self.sweep_id
        if place == directory or not place.is_relative_to(cwd):
            return self
        below = place.relative_to(cwd)
        root = directory.parents[len(below.parts) - 1] if len(below.parts) < len(directory.parts) else directory
        if root / below != directory or (cwd.is_dir() and cwd.samefile(root)):
            return self
        scripts = [word.removeprefix(f"{cwd}{os.sep}") for word in self.application.command if word.endswith(".py")]
        is_project = any((root / script).exists() for script in scripts) if scripts else not cwd.is_dir()
        return self.move(root) if is_project else self

    def _to_json(self) -> dict[str, Any]:
        groups = (self.application, self.overrides, self.snapshot, self.controller)
        stored = {_to_key(name): value for group in groups for name, value in vars(group).items()}
        hosted = self.hosted and {name: value for name, value in vars(self.hosted).items() if value is not None}
        program = self.program and vars(self.program)
        # Older versions lack these.
        later = {"directory": self.directory, "resume_key": stored.pop("resume_key"), "program": program}
        given = {name: value for name, value in later.items() if value is not None}
        return {"sweep_id": self.sweep_id, **stored, "hosted": hosted, "wandb": self.wandb, **given}

    @classmethod
    def _from_json(cls, stored: dict[str, Any]) -> LaunchRecord:
        hosted, program = stored.pop("hosted", None), stored.pop("program", None)
        return cls(
            application=_take(Application, stored),
            overrides=_take(TrialOverrides, stored),
            snapshot=_take(SnapshotPaths, stored),
            controller=_take(ControllerOptions, stored),
            hosted=None if hosted is None else HostedPlace(**hosted),
            program=None if program is None else Program(**program),
            **stored,  # sweep_id, wandb and directory: any other key is a TypeError
        )


# The file is flat. Some fields have other keys there, because sweeps of older versions have these keys.
_KEYS = {"hydra": "hydra_overrides", "stripped_keys": "strip", "plain_grid": "axes"}

_Group = TypeVar("_Group", Application, TrialOverrides, SnapshotPaths, ControllerOptions)


def _to_key(name: str) -> str:
    return _KEYS.get(name, name)


def _take(group: type[_Group], stored: dict[str, Any]) -> _Group:
    """Remove the keys of ``group`` from ``stored`` and return their values as one."""
    names = [field.name for field in fields(group)]
    return group(**{name: stored.pop(_to_key(name)) for name in names if _to_key(name) in stored})
