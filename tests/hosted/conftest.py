"""A W&B server for each test, and an environment without the user's own settings."""

import os
import subprocess
import sys
import textwrap
from functools import partial

import pytest

from tests.hosted.parts import make_environment
from tests.hosted.server import WandbServer


@pytest.fixture
def server():
    with WandbServer() as running:
        yield running


@pytest.fixture
def home(server, tmp_path, monkeypatch):
    """The home and working directory of a user of ``server``, whose environment is set."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "SLURM_"))]:
        monkeypatch.delenv(name)
    for name, value in make_environment(server, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def python(home):
    """Run a program in a new process: wandb reads its settings once per process."""
    return partial(run_python, cwd=home)


def run_python(program, *arguments, check=True, **options):
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done
