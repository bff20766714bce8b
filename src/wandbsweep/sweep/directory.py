"""The directory of a sweep: finding it, creating and locking it, and the files that it holds."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.files import write_atomically
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.journal_records import JOURNAL
from wandbsweep.sweep.index import KnownSweep, read_index
from wandbsweep.sweep.launch_record import HIDDEN, OUTPUTS, STUDY, LaunchRecord
from wandbsweep.text import suggest_matches

SWEEP_FILE = "sweep.yaml"
"""A directory holds a sweep if it holds this file, so it is written last and removed first."""
AGENTS = "agents"
TRACEBACK = "traceback.txt"
"""In the directory of a trial that failed."""
PARAMS, PARAMS_JSON = "params.yaml", "params.json"
"""In the directory of a trial that ``wandbsweep run`` has started: its parameters, as W&B's client reads them."""
LOCK = ".lock"
"""Lies in the directory itself, not in ``.sweep/``: a process may wait for it while ``remove_sweep`` runs."""

_STORAGE = f"{HIDDEN}/storage.json"
_MAX_LISTED = 5
_SEARCH_DEPTH = 5  # logs/TASK/multiruns/EXPERIMENT/DATE
_SEARCH_WIDTH = 1000
_ID_ALPHABET = string.ascii_lowercase + string.digits


# -- Finding ------------------------------------------------------------------------------------------------------


def make_sweep_id() -> str:
    """Return 8 random lower-case letters and digits, the first a letter.

    An id names a directory, a study and a W&B group, so it must be valid as each of them.
    """
    return secrets.choice(string.ascii_lowercase) + "".join(secrets.choice(_ID_ALPHABET) for _ in range(7))


def holds_sweep(directory: Path) -> bool:
    """Return whether ``directory`` holds a complete sweep."""
    return os.path.isfile(directory / SWEEP_FILE)  # Path.is_file raises where the directory may not be read


def find_sweep(ref: str | os.PathLike[str], *, of_project: bool = False) -> Path:
    """Return the directory of a sweep.

    Args:
        ref: A directory, or the id of a sweep that ``list_sweeps`` finds or that this user has started anywhere.
        of_project: Whether to find no sweep that was started in another directory, unless that has been moved.

    Returns:
        The directory, absolute.

    Raises:
        SweepDirectoryError: There is no such sweep.
    """
    outputs = OUTPUTS / Path(ref).name
    for directory in (Path(ref), outputs):
        if holds_sweep(directory):
            return directory.absolute()
    for directory in _search_sweeps():
        with suppress(SweepDirectoryError):  # another sweep's record may be damaged
            if LaunchRecord.load(directory).sweep_id == os.fspath(ref):
                return directory.absolute()
    for known in read_index():
        may_be_it = known.sweep_id == os.fspath(ref) and (not of_project or known.is_here or _is_gone(known.project))
        if may_be_it and _still_holds(known):
            return Path(known.directory)
    raise SweepDirectoryError(
        f"No sweep {os.fspath(ref)!r}: neither it nor {outputs} holds a {SWEEP_FILE}; "
        f"{_describe_known_sweeps(outputs.name)}."
    )


def list_sweeps(*, thorough: bool = False, everywhere: bool = False) -> list[Path]:
    """Return the directories of sweeps, the newest first: by when they were started, or when their run_cap changed.

    These are the sweeps in ``outputs/``, and those that this user has started in the working directory. If there are
    none, they are those below it: a project may have a ``hydra.sweep.dir`` of its own.

    Args:
        thorough: Whether to return those below the working directory in any case.
        everywhere: Whether to return all sweeps that this user has started.
    """
    directories = [file.parent for file in OUTPUTS.glob(f"*/{SWEEP_FILE}")]
    started = [Path(known.directory) for known in read_index() if everywhere or known.is_here]
    directories += [directory for directory in started if _is_started_sweep(directory)]
    if thorough or not directories:
        directories += _search_sweeps()
    unique: dict[str, Path] = {}
    for directory in directories:
        unique.setdefault(os.path.realpath(directory), directory)
    return sorted(unique.values(), key=read_start_time, reverse=True)


def _is_started_sweep(directory: Path) -> bool:
    """Return whether a directory holds a sweep that is no part of another one, as those of an evaluation are."""
    # A project may have a file of that name, but no hidden directory of ours beside it.
    outer = (p for p in directory.parents if holds_sweep(p) and (p / HIDDEN).is_dir())
    return os.path.isfile(directory / SWEEP_FILE) and next(outer, None) is None


def read_start_time(directory: Path) -> float:
    """Return when the sweep in ``directory`` was started, or its run_cap changed (Unix time); 0: it is gone."""
    try:
        return (directory / SWEEP_FILE).stat().st_mtime
    except OSError:
        return 0.0


def _is_gone(project: str) -> bool:
    return not os.path.isdir(project)


def _still_holds(known: KnownSweep) -> bool:
    """Return whether the directory of ``known`` holds that sweep.

    An id that ``create_sweep`` made is the name of the directory, which other projects may have as well.
    """
    directory = Path(known.directory)
    if not os.path.isfile(directory / SWEEP_FILE):
        return False
    try:
        record = LaunchRecord.load_if_exists(directory)
    except (SweepDirectoryError, OSError):
        return False
    return record.sweep_id == known.sweep_id if record else known.is_here and directory.name == known.sweep_id


def _search_sweeps() -> Iterator[Path]:
    """Yield the directories of sweeps that Hydra has started, at most ``_SEARCH_DEPTH`` levels below this one.

    Of each level it reads a bounded number of directories, and of each directory a bounded number of entries, since
    projects have large data sets.
    """
    level = [Path()]
    for _ in range(_SEARCH_DEPTH):
        found: list[Path] = []
        for directory in level:
            with suppress(OSError), os.scandir(directory) as entries:
                names = [entry.name for entry in islice(entries, _SEARCH_WIDTH) if entry.is_dir(follow_symlinks=False)]
                found += [directory / name for name in names if not name.startswith(".")]
        level = []
        for directory in found[:_SEARCH_WIDTH]:
            if holds_sweep(directory) and (directory / HIDDEN).is_dir():
                yield directory
            else:
                level.append(directory)


def _describe_known_sweeps(wanted: str) -> str:
    sweeps = list_sweeps()
    if not sweeps:
        return f"there is no sweep in {OUTPUTS}/ or below this directory"
    place = f"{OUTPUTS}/" if all(directory.parent == OUTPUTS for directory in sweeps) else "this project"
    known = [directory.name if directory.parent == OUTPUTS else str(directory) for directory in sweeps]
    meant = suggest_matches(wanted, known)
    if len(known) <= _MAX_LISTED:
        return f"the sweeps in {place} are {', '.join(known)}{meant}"
    return f"the newest of the {len(known)} sweeps in {place} are {', '.join(known[:_MAX_LISTED])}{meant}"


# -- The sweep configuration --------------------------------------------------------------------------------------


def read_spec(directory: Path) -> SweepSpec:
    """Return the sweep configuration that ``directory`` holds."""
    if not holds_sweep(directory):
        raise SweepDirectoryError(f"{directory} holds no sweep: there is no {SWEEP_FILE} in it.")
    record = LaunchRecord.load_if_exists(directory)
    if record is None or record.controller.plain_grid is None:
        return load_sweep(directory / SWEEP_FILE)
    return make_plain_grid(record.controller.plain_grid)


def make_plain_grid(axes: Mapping[str, Sequence[Any]]) -> SweepSpec:
    """Return the spec of a command line's comma lists, which need not be valid W&B parameters.

    No list at all makes a grid of one trial.
    """
    parameters = {name: Parameter(name, "categorical", values=tuple(values)) for name, values in axes.items()}
    config = {"method": "grid", "parameters": {name: {"values": list(values)} for name, values in axes.items()}}
    return SweepSpec("grid", parameters, config=config)


def write_spec(directory: Path, spec: SweepSpec) -> None:
    """Write ``sweep.yaml``, which makes ``directory`` a sweep."""
    write_atomically(directory / SWEEP_FILE, spec.to_yaml())


def find_differences(stored: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """Return one line per difference in space, method or metric between two ``SweepSpec.identity`` mappings."""
    paths = list(dict.fromkeys([*stored, *given]))
    pairs = ((path, stored.get(path, "none"), given.get(path, "none")) for path in paths)
    return [f"{path}: {before}, now {now}" for path, before, now in pairs if before != now]


def refuse_differences(directory: Path, differences: Sequence[str]) -> None:
    """Raise SweepDirectoryError if there are ``differences`` from the sweep in ``directory``."""
    if differences:
        lines = "\n".join(f"  - {difference}" for difference in differences)
        raise SweepDirectoryError(
            f"{directory} holds another sweep:\n{lines}\nGive the new sweep a directory of its own, or remove this one."
        )


# -- Creating and removing ----------------------------------------------------------------------------------------


def make_directory(directory: Path) -> None:
    """Create ``directory`` if it is missing, and check that it is writable."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # threads of one process share the name
    except OSError as error:
        raise SweepDirectoryError(
            f"Cannot write to {directory}: {error.strerror}. Choose another one with hydra.sweep.dir=DIRECTORY."
        ) from None


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, under which a sweep is created, removed or changed, and agents get their numbers.

    The kernel releases the lock of a process that dies. Trials do not need it: storages have locks of their own.
    """
    with _convert_os_errors(directory):
        file = open(directory / LOCK, "w")  # noqa: SIM115  closed below
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def reserve_agents(directory: Path, count: int) -> list[int]:
    """Create the directories of ``count`` new agents and return their numbers, which are consecutive and unused."""
    with lock_directory(directory), _convert_os_errors(directory):
        (directory / AGENTS).mkdir(exist_ok=True)
        taken = [int(path.name) for path in (directory / AGENTS).iterdir() if path.name.isdecimal()]
        first = max(taken, default=-1) + 1
        numbers = list(range(first, first + count))
        for number in numbers:
            (directory / AGENTS / str(number)).mkdir()
    return numbers


def refuse_orphaned_journal(directory: Path) -> None:
    """Raise SweepDirectoryError if ``directory`` holds a journal but no sweep, and a new sweep would overwrite trials.

    A launch that is killed before it writes ``sweep.yaml`` leaves a journal without trials: that one is accepted.
    """
    from wandbsweep.storage.open import open_reader

    if holds_sweep(directory) or not (directory / JOURNAL).exists():
        return
    ours = (directory / HIDDEN).is_dir()
    if not ours or open_reader(directory, STUDY).changes():
        raise SweepDirectoryError(
            f"{directory} holds a {JOURNAL} but no {SWEEP_FILE}, so no sweep can be resumed from it, and a new one "
            "would overwrite it. Give the new sweep a directory of its own, or move the journal away."
        )


def remove_sweep(directory: Path) -> None:
    """Remove the sweep from ``directory``. The directories of its trials stay."""
    for name in (SWEEP_FILE, JOURNAL):
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / HIDDEN, ignore_errors=True)


@contextmanager
def _convert_os_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SweepDirectoryError(f"Cannot write to {directory}: {error}.") from None


# -- Where the trials are -----------------------------------------------------------------------------------------

_urls: dict[Path, str] = {}
"""Storage URLs, with passwords, of the sweeps that this process made with ``create_sweep``."""


def save_storage_url(directory: Path, url: str) -> None:
    """Store the URL of a sweep made by ``create_sweep``, without its password."""
    from wandbsweep.storage.database_url import mask_password

    (directory / HIDDEN).mkdir(exist_ok=True)
    write_atomically(directory / _STORAGE, json.dumps({"storage": mask_password(url)}))
    _urls[directory] = url


def locate_storage(directory: Path, record: LaunchRecord | None) -> tuple[str | None, str]:
    """Return where the trials of the sweep in ``directory`` are stored.

    Args:
        directory: The sweep's directory.
        record: What it was started with. None for a sweep made by ``create_sweep``.

    Returns:
        The storage URL (None: the directory's journal) and the name of the study.

    Raises:
        SweepDirectoryError: The URL needs a password that is not stored.
    """
    if record is not None:
        return record.controller.storage, STUDY if record.controller.storage is None else record.sweep_id
    if not (directory / _STORAGE).is_file():
        return None, STUDY
    url = _urls.get(directory) or str(json.loads((directory / _STORAGE).read_text(encoding="utf-8"))["storage"])
    if ":***@" in url:
        raise SweepDirectoryError(
            f"The sweep in {directory} is in the database {url}, whose password is not stored; "
            f"open it as URL#{directory.name}."
        )
    return url, directory.name
