"""Servers, and other processes, that tests start end with the tests, however these end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.daemons import Daemons, read_start_time, wait_until
from scripts.server_directory import server_directory

ROOT = Path(__file__).parents[2]
TESTS = """
import subprocess
import time
from pathlib import Path
from scripts.daemons import Daemons

def test_that_needs_a_server_for_long(services):
    daemons = Daemons(services / "server")
    daemons.make()
    daemons.start("sleep", ["sleep", "1000"])
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # as a test starts a sweep
    Path(__file__).with_name("ready.part").write_text(f"{services} {daemons.pid('sleep')} {other.pid}")
    Path(__file__).with_name("ready.part").rename(Path(__file__).with_name("ready"))
    time.sleep(1000)
"""


def test_servers_are_stopped_when_the_block_ends() -> None:
    with server_directory() as directory:
        daemons = Daemons(directory / "server")
        daemons.make()
        daemons.start("sleep", ["sleep", "1000"])
        pid = daemons.pid("sleep")
        assert pid is not None
    assert read_start_time(pid) is None
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_a_test_run(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, and a kill, reach pytest and its workers at once, as they do under `make test`."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.conftest"]\n')
    (tmp_path / "test_servers.py").write_text(TESTS)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as run:
        try:
            wait_until(lambda: (tmp_path / "ready").exists() or run.poll() is not None, "the server", within_s=60)
            assert run.poll() is None, run.communicate()[0]
            directory, *pids = (tmp_path / "ready").read_text().split()
            assert None not in [read_start_time(int(pid)) for pid in pids]
        finally:
            os.killpg(run.pid, number)
        run.communicate(timeout=60)
    for pid in map(int, pids):
        wait_until(lambda pid=pid: read_start_time(pid) is None, f"{pid} to end", within_s=30)
    wait_until(lambda: not Path(directory).exists(), "its directory to be removed", within_s=30)
