"""A launcher of submitit that loses a job waits for the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from wandbsweep.launch.lost_jobs import await_all_jobs


def end(number: int) -> int:
    if number == 0:
        os._exit(1)
    return number


def test_the_results_of_the_other_jobs_are_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    # How long to wait for a lost job's file. On a network's file system it may come late.
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 0.5)
    executor = submitit.LocalExecutor(tmp_path)
    executor.update_parameters(timeout_min=5)
    jobs: list[Any] = executor.map_array(end, [0, 1])
    with await_all_jobs():
        lost, other = [job.results()[0] for job in jobs]
    assert other == 1
    with pytest.raises(submitit.core.utils.UncompletedJobError):
        _ = lost.return_value
    with pytest.raises(submitit.core.utils.UncompletedJobError):  # as before
        jobs[0].results()
