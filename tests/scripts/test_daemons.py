"""Servers are started once, and nothing else is ever stopped or removed."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from scripts.daemons import MARK, Daemons, ServiceError


def test_a_process_that_took_over_a_pid_is_left_alone(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path / "place")
    daemons.make()
    with subprocess.Popen(["sleep", "1000"]) as other:
        (tmp_path / "place" / "run" / "munged.started").write_text(f"{other.pid} 1 {int(signal.SIGTERM)}")
        assert daemons.pid("munged") is None
        daemons.remove()
        assert other.poll() is None
        other.kill()


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ServiceError, match="not empty"):
        Daemons(tmp_path).make()
    Daemons(tmp_path).remove()
    assert (tmp_path / "thesis.tex").exists()
    assert not (tmp_path / MARK).exists()
