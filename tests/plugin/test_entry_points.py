"""Hydra finds the plugin twice: by the namespace package, and, since Hydra 1.4, by its entry points."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import hydra
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

import hydra_plugins.wandbsweep
from tests.applications import App

ROOT = Path(__file__).parents[2]
GROUP = "hydra.plugins"
SCRIPT = """
import hydra

@hydra.main(config_path=None, **({"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}))
def main(cfg):
    return cfg.x

main()
"""
ENTRY_POINTS_ALONE = """
import hydra_plugins
from hydra.core.plugins import Plugins
scan = Plugins._scan_all_plugins
Plugins._scan_all_plugins = staticmethod(lambda modules: scan([m for m in modules if m is not hydra_plugins]))
"""


def read_entry_points() -> list[EntryPoint]:
    """Read them from the sources, since the metadata of an installation may be older."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [EntryPoint(name, value, GROUP) for name, value in project["entry-points"][GROUP].items()]


def scan_package() -> Iterator[type[Plugin]]:
    """Find the classes that Hydra's scan of the namespace package registers."""
    package = hydra_plugins.wandbsweep
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(value, Plugin) and value.__module__.startswith(package.__name__):
                yield value


def test_each_plugin_has_an_entry_point() -> None:
    assert {entry.load() for entry in read_entry_points()} == set(scan_package())


def test_both_ways_register_each_plugin_once() -> None:
    plugins = Plugins.instance()
    for entry in read_entry_points():
        plugins.register(entry.load())  # as Hydra does after its scan
    found = [plugin for plugin in plugins.discover() if plugin.__module__.startswith("hydra_plugins.wandbsweep.")]
    assert sorted(plugin.__name__ for plugin in found) == sorted(plugin.__name__ for plugin in set(scan_package()))


def run_under_14(directory: Path, script: Path | str, *arguments: str) -> str:
    """Run a sweep under Hydra 1.4 and return its output. Warnings, as Hydra and OmegaConf give them, are errors."""
    is_installed = hydra.__version__.startswith("1.4.")
    python = Path(sys.executable) if is_installed else ROOT / ".venv-hydra14" / "bin" / "python"
    if not python.exists():
        reason = "Hydra 1.4 is not installed: make .venv-hydra14/.installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    environment = {**os.environ, "PYTHONWARNINGS": "error::UserWarning", "WANDB_MODE": "offline"}
    command = [str(python), str(script), "-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", *arguments]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return done.stdout


def test_entry_points_alone_are_enough(tmp_path: Path) -> None:
    """Hydra 1.3 knows none."""
    (tmp_path / "app.py").write_text(ENTRY_POINTS_ALONE + SCRIPT)
    run_under_14(tmp_path, "app.py", "+x=1,2", "hydra/job_logging=none")
    assert [trial.value for trial in App(tmp_path).sweep().trials] == [1.0, 2.0]


def test_a_foreign_project_under_hydra_14(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    run_under_14(tmp_path, "app.py", "+x=1,2", "hydra.sweeper.agents=2", "hydra.sweeper.isolation=process")
    assert [trial.value for trial in App(tmp_path).sweep().trials] == [1.0, 2.0]


def test_the_digits_under_hydra_14(tmp_path: Path) -> None:
    small = ["++sweep.run_cap=2", "++sweep.method=random", "trainer.max_epochs=1", "logger=csv"]
    run_under_14(tmp_path, ROOT / "train.py", *small)
    assert App(tmp_path).states() == ["finished", "finished"]
