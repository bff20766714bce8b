"""Hydra finds the sweeper, and runs a sweep, from any working directory: from a built wheel and from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = Path(__file__).parent / "apps" / "tiny"
SWEEP = ["-m", "hydra/sweeper=wandbsweep", "sweep=macros", "hydra.sweep.dir=sweep"]
WHERE = "import hydra_plugins.wandbsweep.sweeper as s, wandbsweep; print(s.__file__, wandbsweep.__file__, sep='\\n')"


def run(*command: str | Path, cwd: Path) -> str:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=outside, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, without the network."""
    sources: Path = tmp_path_factory.mktemp("sources")
    for name in ("src", "hydra_plugins"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=sources)
    (built,) = (sources / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and its dependencies, but nothing of this repository."""
    place: Path = tmp_path_factory.mktemp("venv")
    venv.create(place, symlinks=True, with_pip=False)
    python = place / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Python searches a directory that a .pth file names, but does not read the .pth files in it, such as that of our
    # editable installation. Only the metadata of that installation is found, which has the name of the wheel's.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_what_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [file for root in (ROOT / "src" / "wandbsweep", ROOT / "hydra_plugins") for file in root.rglob("*")]
    packaged = {file.relative_to(ROOT).as_posix().removeprefix("src/") for file in files if file.is_file()}
    packaged = {name for name in packaged if "__pycache__" not in name}
    assert packaged >= {
        "wandbsweep/py.typed",
        "wandbsweep/results/report/page.html",
        "hydra_plugins/wandbsweep/py.typed",
    }
    assert packaged == {name for name in names if ".dist-info/" not in name}  # no tests, and not the example classifier
    (entry_points,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert "[hydra.plugins]\nwandbsweep = hydra_plugins.wandbsweep.sweeper:WandbSweeper\n" in text
    assert "hydra_plugins/__init__.py" not in names  # it would hide all other plugins


def test_from_the_wheel(clean: Path, tmp_path: Path) -> None:
    app = tmp_path / "elsewhere"
    shutil.copytree(TINY, app)
    for file in run(clean, "-c", WHERE, cwd=app).splitlines():
        assert Path(file).is_relative_to(clean.parents[1])
    assert "WandbSweeper" in run(clean, "app.py", "--info", "plugins", cwd=app)
    run(clean, "app.py", *SWEEP, cwd=app)
    assert (app / "sweep" / "1" / "result.json").exists()


def test_from_the_wheel_on_another_process(clean: Path, tmp_path: Path) -> None:
    """Agents, which are unpickled in another process, find the plugin too."""
    app = tmp_path / "elsewhere"
    shutil.copytree(TINY, app)
    run(clean, "app.py", *SWEEP, "hydra/launcher=submitit_local", cwd=app)
    assert (app / "sweep" / "1" / "result.json").exists()


def test_from_the_editable_installation(tmp_path: Path) -> None:
    app = tmp_path / "elsewhere"
    shutil.copytree(TINY, app)
    for file in run(sys.executable, "-c", WHERE, cwd=app).splitlines():
        assert Path(file).is_relative_to(ROOT)
    run(sys.executable, "app.py", *SWEEP, cwd=app)
    assert (app / "sweep" / "1" / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("example", ["lightning", "pytorch"])
def test_an_example_copied_elsewhere_runs_with_the_wheel(clean: Path, tmp_path: Path, example: str) -> None:
    """As a stranger takes it: a training, a sweep of two agents, and the commands that read it."""
    app = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / example, app, ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    assert (app / "conf" / "config.yaml").exists()
    run(clean, "train.py", "epochs=1", cwd=app)
    two = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.agents=2"]
    run(clean, "train.py", "-m", "hydra/sweeper=wandbsweep", "++sweep.run_cap=2", "epochs=1", *two, cwd=app)
    table = run(clean, "-m", "wandbsweep.cli", "table", "--json", cwd=app)
    assert [trial["state"] for trial in json.loads(table)] == ["finished", "finished"]
    assert "train.py" in run(clean, "-m", "wandbsweep.cli", "best", cwd=app)
