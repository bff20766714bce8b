"""``wandbsweep list``: the sweeps of a project, of every state and place."""

import json
import os
import re
import socket
from pathlib import Path

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep

PLAIN = RANDOM | {"metric": {"name": "val/loss"}, "run_cap": 2}
FRONT = {"metrics" if key == "metric" else key: value for key, value in PLAIN.items()} | {
    "metrics": [{"name": "val/loss"}, {"name": "size"}]
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def make_sweep(directory, *, trials=0, order="running", config=PLAIN, time=0, **options):
    controller = create_sweep(load_sweep(config), directory, seed=0, **options)
    for number in range(trials):
        trial = controller.ask("a")
        controller.report(trial, 0, {"val/loss": 1.0 - number, "size": 1.0})
        controller.complete(trial, Outcome.finished())
    controller.command = order
    controller.close()
    os.utime(Path(directory, "sweep.yaml"), (time, time))


def test_every_state_and_place(run_command, tmp_path):
    make_sweep("outputs/first", trials=2, time=1e9)
    make_sweep("outputs/paused", order="paused", time=2e9)
    make_sweep("logs/train/2026/stopped", trials=1, order="stopped", time=3e9)
    make_sweep(tmp_path / "scratch" / "far", time=4e9, storage=f"sqlite:///{tmp_path}/study.db")
    make_sweep(tmp_path / "scratch" / "front", trials=1, time=5e9, config=FRONT)
    header, *rows = run_command("list").splitlines()
    assert header.split() == ["id", "state", "method", "trials", "best", "when", "where"]
    cells = [row.split() for row in rows]
    assert [row[:4] for row in cells] == [
        ["front", "waiting", "random", "1/2"],
        ["far", "waiting", "random", "0/2"],
        ["stopped", "stopped", "random", "1/2"],
        ["paused", "paused", "random", "0/2"],
        ["first", "finished", "random", "2/2"],
    ]
    wheres = [str(tmp_path / "scratch/front"), str(tmp_path / "scratch/far"), "logs/train/2026/stopped"]
    assert [row[-1] for row in cells] == [*wheres, "outputs/paused", "outputs/first"]
    assert "1 on the Pareto front" in rows[0]
    assert re.search(r"val/loss 0 +2001-09-\d\d \d\d:\d\d  outputs/first$", rows[-1])
    found = json.loads(run_command("list", "--json", "--top", "5"))[-1]
    assert found == {
        "sweep_id": "first",
        "state": "finished",
        "method": "random",
        "trials": 2,
        "cap": 2,
        "best": {"number": 1, "metric": 0.0},
        "started": 1e9,
        "directory": str(Path("outputs/first").absolute()),
    }
    assert run_command("status").startswith("front: ")  # the default is the first of the list


def test_a_running_sweep(run_command):
    sweep = create_sweep(load_sweep(PLAIN), "outputs/abcd1234")
    sweep.ask("a")
    assert run_command("list").splitlines()[1].split()[:4] == ["abcd1234", "running", "random", "0/2"]
    sweep.close()


def test_the_newest_in_a_terminal(run_command, monkeypatch):
    for number in range(21):
        make_sweep(f"outputs/s{number}", time=1e9 + number)
    assert len(run_command("list").splitlines()) == 22
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lines = run_command("list").splitlines()
    assert (lines[1].split()[0], len(lines), lines[-1]) == ("s20", 22, "20 of 21 sweeps; --top 0 for all")


def test_other_projects(run_command, tmp_path, monkeypatch):
    make_sweep("outputs/abcd1234")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert "--all lists those that you have started" in run_command("list", status=1)
    assert run_command("list", "--all").splitlines()[1].endswith(str(tmp_path / "project/outputs/abcd1234"))
    assert json.loads(run_command("list", "--json", status=1)) == []


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("journal.log", "not json\n", "line 1: the journal is damaged"),
        ("sweep.yaml", "method: [", "sweep.yaml"),
        (".sweep/plan.json", "{}", "holds no launch record"),
        (".sweep/plan.json", "\0", "is damaged"),
    ],
)
def test_a_sweep_that_cannot_be_read(run_command, file, text, reason):
    make_sweep("outputs/good")
    make_sweep("outputs/bad")
    Path("outputs/bad/.sweep").mkdir(exist_ok=True)
    Path("outputs/bad", file).write_text(text)
    rows = {row.split()[0]: row for row in run_command("list").splitlines()}
    assert rows["good"].split()[1] == "waiting"
    assert rows["bad"].split()[1] == "unreadable"
    assert reason in rows["bad"]
    assert len(rows) == 3


@pytest.mark.slow  # the database gets 5 s
def test_a_database_that_does_not_answer_is_asked_once(run_command, tmp_path):
    with socket.socket() as server:  # it accepts connections, and says nothing
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"postgresql://me@127.0.0.1:{server.getsockname()[1]}/sweeps?connect_timeout=2"
        for name in ("one", "two", "three"):
            make_sweep(f"outputs/{name}")
            Path(f"outputs/{name}/.sweep").mkdir(exist_ok=True)
            Path(f"outputs/{name}/.sweep/storage.json").write_text(json.dumps({"storage": url}))
        rows = run_command("list").splitlines()[1:]
        assert [row.split()[1] for row in rows] == ["unreadable"] * 3
        server.setblocking(False)
        connections = 0
        while True:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                break
            connections += 1
        assert connections <= 3
