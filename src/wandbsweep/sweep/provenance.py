"""Which versions of Python, packages and code a sweep runs with."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from wandbsweep.files import write_atomically
from wandbsweep.sweep.launch_record import HIDDEN

FILE = f"{HIDDEN}/versions.json"
PACKAGES = ("wandbsweep", "hydra-core", "optuna", "numpy", "torch", "lightning", "wandb", "scikit-learn")
_GIT_TIMEOUT_S = 5


def collect_provenance(cwd: Path) -> dict[str, Any]:
    """Return the versions that this process uses.

    ``commit`` is None outside of a git repository; ``uncommitted`` says whether tracked files differ from it.
    """
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _run_git(cwd, "rev-parse", "HEAD")
    changes = _run_git(cwd, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "commit": commit or None,
        "uncommitted": bool(changes),
        "platform": platform.platform(terse=True),
    }


def write_provenance(directory: Path, cwd: Path) -> None:
    """Record the versions that run the sweep in ``directory``."""
    write_atomically(directory / FILE, json.dumps(collect_provenance(cwd), indent=1))


def read_provenance(directory: Path, cwd: Path) -> dict[str, Any]:
    """Return the recorded versions (``noted: start``), or today's if none were recorded (``noted: report``)."""
    try:
        stored = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {**collect_provenance(cwd), "noted": "report"}
    return {**stored, "noted": "start"}


def _run_git(cwd: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it fails, is missing or takes too long."""
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
