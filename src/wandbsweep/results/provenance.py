"""What a sweep was made with: versions of Python and packages, and the commit of the working tree."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from wandbsweep.files import write_atomically

FILE = ".sweep/versions.json"
PACKAGES = ("wandbsweep", "hydra-core", "optuna", "numpy", "torch", "lightning", "wandb", "scikit-learn")
_PATIENCE_S = 5


def provenance(cwd: Path) -> dict[str, Any]:
    """``python``, ``packages``, ``commit`` (None outside of git) and whether there were uncommitted changes, now."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _git(cwd, "rev-parse", "HEAD")
    changed = _git(cwd, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "commit": commit or None,
        "uncommitted": bool(changed),
        "platform": platform.platform(terse=True),
    }


def write_provenance(directory: Path, cwd: Path) -> None:
    """Note down for the sweep in ``directory`` what runs it."""
    write_atomically(directory / FILE, json.dumps(provenance(cwd), indent=1))


def stored_provenance(directory: Path, cwd: Path) -> dict[str, Any]:
    """As it was when the sweep was started, where that was noted down; else as it is now, which ``noted`` tells."""
    try:
        found = json.loads((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {**provenance(cwd), "noted": "report"}
    return {**found, "noted": "start"}


def _git(cwd: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
