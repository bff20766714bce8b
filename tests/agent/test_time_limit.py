"""Whether a trial is worth starting before the job's own end."""

import logging
import os
import stat
import time
from datetime import datetime

import pytest

from wandbsweep.agent.time_limit import TimeLimit


@pytest.mark.parametrize(
    ("left_s", "durations", "worth"),
    [
        (1, [], True),
        (-1, [], False),
        (49, [100], False),
        (51, [100], True),
        (3, [1, 5, 1000], True),
        (2, [1, 5, 1000], False),
        (-1, [0.1], False),
    ],
)
def test_half_of_a_usual_trial_must_fit_in(left_s, durations, worth):
    assert TimeLimit(time.time() + left_s).worth_starting(durations) == worth


def test_without_a_limit_every_trial_is_worth_starting():
    assert TimeLimit().worth_starting([1e9])


def test_the_reserve_is_not_to_be_used(caplog):
    caplog.set_level(logging.INFO)
    soon = TimeLimit(time.time() + 100, reserve_s=60)
    assert soon.worth_starting([60])
    assert caplog.text == ""
    assert not soon.worth_starting([100])
    assert "too soon to start another trial" in caplog.text


@pytest.mark.parametrize(("length_s", "reserve_s"), [(60, 6), (3600, 30)])
def test_a_short_job_reserves_less(monkeypatch, length_s, reserve_s):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + length_s))
    assert TimeLimit.of_job().reserve_s == pytest.approx(reserve_s, abs=0.5)


def test_slurm_states_the_end(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1700000000")
    assert TimeLimit.of_job().end == 1_700_000_000


@pytest.mark.parametrize(
    ("answer", "end"), [("2030-01-02T03:04:05", True), ("N/A", False), ("Unknown", False), ("", False)]
)
def test_an_older_slurm_is_asked(monkeypatch, tmp_path, answer, end):
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$3" = --jobs=7 ] && echo "{answer}"\n')
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert TimeLimit.of_job().end == (datetime(2030, 1, 2, 3, 4, 5).timestamp() if end else None)


def test_a_slurm_that_does_not_answer_sets_no_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert TimeLimit.of_job().worth_starting([1e9])


def test_outside_slurm_there_is_none(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert TimeLimit.of_job() == TimeLimit()
