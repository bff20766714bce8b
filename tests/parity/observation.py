"""Runs an application's multirun, and collects what its task saw and what is left of it, in comparable form."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.parity.application import Application

LIBRARY = Path(__file__).parent / "library"
TIMEOUT_S = 240
SWEEP = "sweep"
DEFAULT_DIRECTORY = "hydra.sweep.dir=default"
"""In a command: the sweep's directory is nowhere named."""

PRINTED = "PRINTED "
"""Lines that begin so are what the application prints."""

_VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d([ T_/]\d\d[:-]\d\d([:-]\d\d([.,]\d+)?)?)?"), "<time>"),
    (re.compile(r"0x[0-9a-f]{6,}"), "<address>"),
)


_OWN_LINE = re.compile(r"\bwandbsweep\.|\[submitit\]")
"""Lines of a log that are our sweeper's or submitit's, and not the application's."""

_DEFAULT_PLACES = re.compile(r"multirun/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d|outputs/[a-z0-9]{8}\b")


@dataclass(frozen=True)
class Observation:
    """What a multirun did."""

    seen: dict[str, Any]
    output: str
    """What it wrote to the terminal, for messages."""


def observe(application: Application, directory: Path, overrides: list[str]) -> Observation:
    """Run ``application`` in ``directory``, which does not exist yet, with further ``overrides``."""
    application.write(directory)
    records = directory.with_name(f"{directory.name}-records")
    records.mkdir(parents=True)
    python_path = os.pathsep.join([str(LIBRARY), application.environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "HYDRA_FULL_ERROR": "0",
        **application.environment,
        "PYTHONPATH": python_path,
        "PARITY_RECORDS": str(records),
    }
    is_placed = any(word.startswith("hydra.sweep.dir=") for word in application.command)
    place = [] if is_placed else [f"hydra.sweep.dir={SWEEP}"]
    command = [word for word in application.command if word != DEFAULT_DIRECTORY]
    done = subprocess.run(
        [*command, *place, *overrides],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=TIMEOUT_S,
    )
    clean = _Cleaner(directory, records)
    logs = [done.stdout, done.stderr] + [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(directory.rglob(".submitit/*/*.*"))
        if path.suffix in (".out", ".err")
    ]
    seen = {
        "status": done.returncode,
        "error": clean(next((line for line in reversed(done.stderr.splitlines()) if _ERROR.match(line)), "")),
        "printed": sorted(clean(line) for log in logs for line in log.splitlines() if line.startswith(PRINTED)),
        "jobs": {path.stem: _read_events(path, clean) for path in sorted(records.iterdir())},
        "files": dict(_read_files(directory, clean, {*application.files})),
    }
    return Observation(seen, "\n".join(logs))


_ERROR = re.compile(r"[\w.]*(Error|Exception|Exit|Interrupt|Mute)\b")


@dataclass(frozen=True)
class _Cleaner:
    """Replaces what differs between any two runs."""

    directory: Path
    records: Path

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self(key): self(_clean_overrides(key, item)) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return self._clean_text(value) if isinstance(value, str) else value

    def _clean_text(self, text: str) -> str:
        text = text.replace(str(self.records), "<records>").replace(str(self.directory), "<app>")
        text = _DEFAULT_PLACES.sub(SWEEP, text)
        for pattern, name in _VOLATILE:
            text = pattern.sub(name, text)
        return text


def _clean_overrides(key: Any, value: Any) -> Any:
    """Return ``hydra.overrides`` without those of the sweeper; the order of the others is not compared."""
    if key != "overrides" or not isinstance(value, dict):
        return value
    kept = [line for line in value["hydra"] if not line.startswith(("hydra/sweeper", "hydra.sweeper."))]
    return {**value, "hydra": sorted(kept)}


def _read_events(path: Path, clean: _Cleaner) -> dict[str, Any]:
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {f"{number} {event.pop('event')}": clean(event) for number, event in enumerate(events)}


def _read_files(directory: Path, clean: _Cleaner, given: set[str]) -> Iterator[tuple[str, Any]]:
    for root, folders, names in os.walk(directory):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        for name in names + folders:
            path = Path(root, name)
            place = str(path.relative_to(directory))
            if place in given:
                continue
            if ".submitit/" in place:
                continue  # by the numbers of submitit's jobs
            if path.is_symlink():
                yield clean(place), f"link to {os.readlink(path)}"
            elif path.is_dir():
                yield clean(place), "directory"
            else:
                yield clean(place), _read_file(path, clean)


def _read_file(path: Path, clean: _Cleaner) -> Any:
    data = path.read_bytes()
    if path.suffix in (".yaml", ".log", ".txt"):
        text = data.decode("utf-8", "replace")
        if path.suffix == ".yaml":
            return clean(yaml.load(text, yaml.BaseLoader))  # without types that JSON lacks, such as dates
        return clean([line for line in text.splitlines() if not _OWN_LINE.search(line)])
    return "file"


def compare(stock: Any, ours: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each place where two observations differ, with both values."""
    if isinstance(stock, dict) and isinstance(ours, dict):
        for key in sorted({*stock, *ours}):
            yield from compare(stock.get(key, "<absent>"), ours.get(key, "<absent>"), f"{path}/{key}")
    elif stock != ours or type(stock) is not type(ours):
        yield path, stock, ours
