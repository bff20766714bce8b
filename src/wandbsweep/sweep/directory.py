"""A sweep's directory: where it is, what it holds, and which sweep may use it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.files import write_atomically
from wandbsweep.settings import LEASE_S, MAX_ATTEMPTS
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import HIDDEN, STUDY, Plan, stored_axes

if TYPE_CHECKING:
    from wandbsweep.controllers.embedded.controller import EmbeddedController

SWEEP_FILE = "sweep.yaml"
OUTPUTS = Path("outputs")
AGENTS = "agents"
LOCK = ".lock"
"""In the directory itself, so that it outlives a sweep that is forgotten while somebody waits for it."""

_STORAGE = f"{HIDDEN}/storage.json"
_SHOWN = 5
_ID_ALPHABET = string.ascii_lowercase + string.digits


def new_sweep_id() -> str:
    """8 lower-case letters and digits, the first a letter: it is a directory, a study and a W&B group."""
    return secrets.choice(string.ascii_lowercase) + "".join(secrets.choice(_ID_ALPHABET) for _ in range(7))


def holds_sweep(directory: Path) -> bool:
    return (directory / SWEEP_FILE).is_file()


def find_sweep(ref: str | os.PathLike[str]) -> Path:
    """The directory of the sweep that ``ref`` names: a directory, or an id below ``outputs/``."""
    candidates = [Path(ref), OUTPUTS / Path(ref).name]
    for directory in candidates:
        if holds_sweep(directory):
            return directory.absolute()
    raise SweepDirectoryError(
        f"No sweep {os.fspath(ref)!r}: neither it nor {candidates[1]} holds a {SWEEP_FILE}; "
        f"{_those_there_are(candidates[1].name)}."
    )


def sweeps_by_age() -> list[Path]:
    """The sweeps' directories in ``outputs/``, the one that was started last first."""
    files = sorted(OUTPUTS.glob(f"*/{SWEEP_FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [file.parent for file in files]


def _those_there_are(wanted: str) -> str:
    known = [directory.name for directory in sweeps_by_age()]
    if not known:
        return f"there is no sweep in {OUTPUTS}/"
    close = get_close_matches(wanted, known, 3)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    if len(known) <= _SHOWN:
        return f"the sweeps in {OUTPUTS}/ are {', '.join(known)}{meant}"
    return f"the newest of the {len(known)} sweeps in {OUTPUTS}/ are {', '.join(known[:_SHOWN])}{meant}"


def read_spec(directory: Path) -> SweepSpec:
    """The sweep configuration that ``directory`` holds."""
    if not holds_sweep(directory):
        raise SweepDirectoryError(f"{directory} holds no sweep: there is no {SWEEP_FILE} in it.")
    axes = stored_axes(directory)
    return load_sweep(directory / SWEEP_FILE) if axes is None else plain_grid(axes)


def plain_grid(axes: Mapping[str, Sequence[Any]]) -> SweepSpec:
    """The comma lists of a command line, for which there are no rules: no list at all is one trial."""
    parameters = {name: Parameter(name, "categorical", values=tuple(values)) for name, values in axes.items()}
    config = {"method": "grid", "parameters": {name: {"values": list(values)} for name, values in axes.items()}}
    return SweepSpec("grid", parameters, config=config)


def write_spec(directory: Path, spec: SweepSpec) -> None:
    write_atomically(directory / SWEEP_FILE, spec.to_yaml())


def refuse_orphans(directory: Path) -> None:
    """A journal that belongs to no sweep here must not be overwritten: it is somebody's, or what a lost one left."""
    from wandbsweep.storage.journal_reader import JOURNAL
    from wandbsweep.storage.open import open_storage, read_ledger

    if holds_sweep(directory) or not (directory / JOURNAL).exists():
        return
    ours = (directory / HIDDEN).is_dir()
    if not ours or read_ledger(open_storage(directory), STUDY, "minimize").entries:
        raise SweepDirectoryError(
            f"{directory} holds a {JOURNAL} but no {SWEEP_FILE}, so no sweep can go on from it, and a new one "
            "would overwrite it. Give the new sweep a directory of its own, or move the journal away."
        )


def forget_sweep(directory: Path) -> None:
    """Make ``directory`` one that holds no sweep; what its trials wrote stays."""
    for name in (SWEEP_FILE, "journal.log"):
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / HIDDEN, ignore_errors=True)


def differences(stored: SweepSpec, given: SweepSpec) -> list[str]:
    """What forbids ``given`` to go on with the trials of ``stored``: another space, method or metric."""
    return _told_apart(stored.identity, given.identity)


def _told_apart(stored: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    paths = list(dict.fromkeys([*stored, *given]))
    pairs = ((path, stored.get(path, "none"), given.get(path, "none")) for path in paths)
    return [f"{path}: {before}, now {now}" for path, before, now in pairs if before != now]


def refuse_differences(directory: Path, found: Sequence[str]) -> None:
    if found:
        lines = "\n".join(f"  - {difference}" for difference in found)
        raise SweepDirectoryError(
            f"{directory} holds another sweep:\n{lines}\nGive the new sweep a directory of its own, or remove this one."
        )


def make_directory(directory: Path) -> None:
    """Make ``directory``, and be sure that one can write there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread's is the same
    except OSError as error:
        raise SweepDirectoryError(
            f"Cannot write to {directory}: {error.strerror}. Choose another one with hydra.sweep.dir=DIRECTORY."
        ) from None


def reserve_agents(directory: Path, count: int) -> list[int]:
    """Numbers for ``count`` new agents, consecutive, that nobody else has: their directories are made."""
    with locked(directory), _writing(directory):
        (directory / AGENTS).mkdir(exist_ok=True)
        taken = [int(path.name) for path in (directory / AGENTS).iterdir() if path.name.isdecimal()]
        first = max(taken, default=-1) + 1
        numbers = list(range(first, first + count))
        for number in numbers:
            (directory / AGENTS / str(number)).mkdir()
    return numbers


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from setting up the same directory."""
    with _writing(directory):
        file = open(directory / LOCK, "w")  # noqa: SIM115  closed below
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SweepDirectoryError(f"Cannot write to {directory}: {error}.") from None


def create_sweep(
    spec: SweepSpec,
    path: str | os.PathLike[str] | None = None,
    *,
    storage: str | None = None,
    seed: int | None = None,
    lease_s: float = LEASE_S,
    max_attempts: int = MAX_ATTEMPTS,
) -> EmbeddedController:
    """The embedded controller of a sweep: a new one, or the one that ``path`` holds if it is the same.

    ``path`` (a directory, made where missing) keeps ``sweep.yaml`` and ``journal.log``; None: everything in memory.
    ``storage``: an Optuna storage URL instead of the journal. ``seed`` of the search; None: a random one, or the
    stored one. A trial whose process was silent for ``lease_s`` seconds is given out again, until ``max_attempts`` of
    its attempts were lost; the controller shows that it lives until ``close()`` (in memory there is no need to).

    Raises SweepDirectoryError where ``path`` holds another sweep or cannot be written, SweepConfigError for a method
    that needs W&B.
    """
    if path is None:
        made = open_controller(
            None, spec, study_name=None, storage=storage, seed=seed, lease_s=lease_s, max_attempts=max_attempts
        )
        return _refusing(made, spec)
    directory = Path(path).absolute()
    make_directory(directory)
    with locked(directory):
        if holds_sweep(directory):
            refuse_differences(directory, differences(read_spec(directory), spec))
        controller = open_controller(
            directory,
            spec,
            study_name=directory.name,
            storage=storage,
            seed=seed,
            lease_s=lease_s,
            max_attempts=max_attempts,
        )
        _refusing(controller, spec)
        if storage is not None:
            _note_storage(directory, storage)
        write_spec(directory, spec)
    return controller


def _note_storage(directory: Path, url: str) -> None:
    """Write down where the store is, without a password."""
    from wandbsweep.storage.database import without_secret

    (directory / HIDDEN).mkdir(exist_ok=True)
    write_atomically(directory / _STORAGE, json.dumps({"storage": without_secret(url)}))
    _urls[directory] = url


_urls: dict[Path, str] = {}
"""The stores of the sweeps that this process made with ``create_sweep``, passwords included."""


def storage_of(directory: Path, plan: Plan | None) -> tuple[str | None, str]:
    """The URL of the store of the sweep in ``directory`` (None: its journal), and the name of its study there.

    Raises SweepDirectoryError where the URL needs a password that was not written down.
    """
    if plan is not None:
        return plan.storage, STUDY if plan.storage is None else plan.sweep_id
    if not (directory / _STORAGE).is_file():
        return None, STUDY
    url = _urls.get(directory) or str(json.loads((directory / _STORAGE).read_text(encoding="utf-8"))["storage"])
    if ":***@" in url:
        raise SweepDirectoryError(
            f"The sweep in {directory} is in the database {url}, whose password was not written down; "
            f"open it as URL#{directory.name}."
        )
    return url, directory.name


def _refusing(controller: EmbeddedController, spec: SweepSpec) -> EmbeddedController:
    """``controller``, unless its store holds another sweep."""
    if found := _told_apart(controller.identity, spec.identity):
        lines = "\n".join(f"  - {difference}" for difference in found)
        raise SweepDirectoryError(
            f"The storage holds another sweep:\n{lines}\nGive the new sweep a storage, or a path, of its own."
        )
    return controller


def open_controller(
    directory: Path | None,
    spec: SweepSpec,
    *,
    study_name: str | None,
    storage: str | None = None,
    seed: int | None = None,
    max_failures: int | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    lease_s: float = LEASE_S,
    max_attempts: int = MAX_ATTEMPTS,
    wait_s: float | None = None,
) -> EmbeddedController:
    """A controller on the store of ``directory``, or on the database at ``storage``, where ``study_name`` finds it.

    ``max_failures``: give up when the first this-many trials all fail. ``axes``: see ``GridSearch``.
    ``wait_s``: how long to wait for a database, in seconds; None: a few.
    """
    from wandbsweep.controllers.embedded.controller import EmbeddedController
    from wandbsweep.storage.open import OPENING_S, open_storage

    return EmbeddedController(
        spec,
        open_storage(directory, storage, wait_s=OPENING_S if wait_s is None else wait_s),
        # A journal has one study, which is found whatever its directory is renamed to.
        study_name=study_name if storage is not None and study_name is not None else STUDY,
        seed=seed,
        max_failures=max_failures,
        axes=axes,
        directory=directory,
        lease_s=lease_s,
        max_attempts=max_attempts,
    )
