"""Sweeps that an earlier version stored are read and resumed with its answers (see data/old_sweeps/README.md)."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.applications import App, copy_app
from tests.hosted.parts import QUICK_CLIENT, make_environment
from tests.hosted.server import Run, Sweep, WandbServer
from wandbsweep import open_sweep
from wandbsweep.cli.main import main

STORED = Path(__file__).parent / "data" / "old_sweeps"
FIELDS = ("number", "state", "value", "reason", "attempts", "agent")
TIMES = ("started", "ended")


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """W&B as it was when the hosted sweep was left."""
    state = json.loads((STORED / "hosted" / "server.json").read_text())
    with WandbServer() as running:
        running.sweeps = {sweep["name"]: Sweep(**sweep) for sweep in state["sweeps"]}
        running.runs = {run["name"]: Run(**run) for run in state["runs"]}
        running.agents = state["agents"]
        running._ids = itertools.count(100)  # the recorded answers were given with these
        yield running


def restore(name: str, place: Path) -> App:
    """The tiny application in ``place``, with the stored sweep in ``sweep``."""
    app = copy_app("tiny", place)
    directory = app.directory / "sweep"
    shutil.copytree(STORED / name, directory)
    placeholders = {
        "@APP@": str(app.directory),
        "@PYTHON@": sys.executable,
        "@PLACE@": f"{socket.gethostname()}:{os.readlink('/proc/self/ns/pid')}",
    }
    for file in [path for path in directory.rglob("*") if path.is_file()]:
        text = file.read_text()
        for placeholder, value in placeholders.items():
            text = text.replace(placeholder, value)
        file.write_text(text)
    if name == "sqlite":
        with closing(sqlite3.connect(app.directory / "sweep.db")) as database:
            database.executescript((directory / "sweep.sql").read_text())
    return app


def read_answers(name: str) -> dict[str, Any]:
    return json.loads((STORED / f"{name}.json").read_text())


def read_records(directory: Path, *fields: str) -> list[dict[str, Any]]:
    """The records of the sweep in ``directory`` as JSON gives them back."""
    trials = open_sweep(directory).trials
    records = [
        {
            **{field: getattr(trial, field) for field in fields},
            "params": dict(trial.params),
            "metrics": dict(trial.metrics),
            "reports": [list(report) for report in trial.reports.items()],
        }
        for trial in trials
    ]
    return json.loads(json.dumps(records))


def resume(
    app: App,
    answers: dict[str, Any],
    *overrides: str,
    status: int | None = None,
    new: int | None = None,
    **variables: str,
) -> None:
    """Resume the sweep with one agent, and compare its trials with those of the old version.

    Args:
        app: The application, with the stored sweep.
        answers: What the old version gave.
        overrides: More overrides of the command.
        status: The exit status; None: the old version's.
        new: How many new trials to compare wholly; None: all.
        variables: Environment variables of the command.
    """
    sweep_id = json.loads((app.directory / "sweep" / ".sweep" / "plan.json").read_text())["sweep_id"]
    app.multirun(
        f"hydra.sweeper.sweep_id={sweep_id}",
        *overrides,
        status=answers["exit_status"] if status is None else status,
        **variables,
    )
    found = read_records(app.directory / "sweep", *FIELDS)
    assert len(found) == len(answers["resumed"])
    compared = None if new is None else len(answers["records"]) + new
    for record, wanted in zip(found[:compared], answers["resumed"][:compared], strict=True):
        assert record == wanted


def select_keys(found: Any, wanted: Any) -> Any:
    """Return ``found`` without what has changed by design since.

    Commands print more keys, and the time between two attempts of a trial is no longer a part of its duration.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        if wanted.get("attempts", 1) > 1 and wanted["duration_s"]:
            assert 0 < found["duration_s"] < 1.1 * wanted["duration_s"]  # a lost attempt ended after the next began
            found = {**found, "duration_s": wanted["duration_s"]}
        return {key: select_keys(found[key], wanted[key]) for key in wanted if key in found}
    if isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted):
        return [select_keys(*pair) for pair in zip(found, wanted, strict=True)]
    return found


@pytest.mark.parametrize("name", ["journal", "sqlite", "grid", "hosted"])
def test_reads_what_was_stored(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    app, answers = restore(name, tmp_path / "tiny"), read_answers(name)
    directory = app.directory / "sweep"
    assert read_records(directory, *FIELDS, *TIMES) == answers["records"]
    for command in {"status", "best", "table"} & set(answers):
        assert main([command, str(directory), "--json"]) == 0
        printed = capsys.readouterr().out.replace(str(app.directory), "@APP@")
        assert select_keys(json.loads(printed), answers[command]) == answers[command]


def test_resumes_to_the_end(tmp_path: Path) -> None:
    resume(restore("sqlite", tmp_path / "tiny"), read_answers("sqlite"))


def test_resumes_a_plain_grid_to_the_end(tmp_path: Path) -> None:
    # It exits with 1 if any trial has failed. The old version forgot those that had failed before it was resumed.
    resume(restore("grid", tmp_path / "tiny"), read_answers("grid"), status=1)


def test_resumes_with_a_model_to_the_end(tmp_path: Path) -> None:
    # The search may propose other configurations than the version that stored the sweep: it now models failures.
    resume(restore("journal", tmp_path / "tiny"), read_answers("journal"), new=0)


def test_resumes_at_wandb_to_the_end(tmp_path: Path, server: WandbServer) -> None:
    answers, home = read_answers("hosted"), tmp_path / "home"
    home.mkdir()
    user = {**make_environment(server, home), **QUICK_CLIENT, "WANDB_MODE": "online", "no_proxy": "127.0.0.1"}
    resume(restore("hosted", tmp_path / "tiny"), answers, "hydra.sweeper.controller=wandb", **user)
    runs = [(run.name, run.state, run.params, run.values("loss")) for run in server.runs.values()]
    assert runs == [(run["name"], run["state"], run["params"], run["loss"]) for run in answers["runs"]]
