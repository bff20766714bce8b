"""The index of started sweeps: how ids are found, and what it survives."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configurations import RANDOM
from wandbsweep import create_sweep, load_sweep
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.sweep import index
from wandbsweep.sweep.directory import find_sweep, list_sweeps
from wandbsweep.sweep.index import find_index, read_index, remember_sweep
from wandbsweep.sweep.launch_record import Application, LaunchRecord, TrialOverrides


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The state of a user who has started nothing, in a project of theirs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "state"


def start_sweep(directory, sweep_id, project=None):
    """Make the sweep that a command in ``project`` would start."""
    project = str(project or Path.cwd())
    create_sweep(load_sweep(RANDOM | {"run_cap": 3}), directory, seed=0).close()
    LaunchRecord(sweep_id, Application(project, None, "train", ["python", "train.py"]), TrialOverrides([], [])).save(
        Path(directory)
    )
    remember_sweep(sweep_id, Path(directory), project)


def test_an_id_is_found_wherever_the_sweep_lies(tmp_path, monkeypatch):
    start_sweep(tmp_path / "scratch" / "any", "abcd1234")
    assert find_sweep("abcd1234") == tmp_path / "scratch" / "any"
    assert list_sweeps() == [tmp_path / "scratch" / "any"]
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert find_sweep("abcd1234") == tmp_path / "scratch" / "any"
    assert list_sweeps() == []
    assert list_sweeps(everywhere=True) == [tmp_path / "scratch" / "any"]
    with pytest.raises(SweepDirectoryError, match="No sweep 'abcd1234'"):
        find_sweep("abcd1234", of_project=True)  # another application must not run its trials
    shutil.rmtree(tmp_path / "project")
    assert find_sweep("abcd1234", of_project=True) == tmp_path / "scratch" / "any"


def test_a_name_of_a_directory_is_no_id_elsewhere(tmp_path, monkeypatch):
    create_sweep(load_sweep(RANDOM), tmp_path / "scratch" / "first").close()
    assert find_sweep("first") == tmp_path / "scratch" / "first"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SweepDirectoryError, match="No sweep 'first'"):
        find_sweep("first")


def test_directories_that_are_gone_or_hold_another_sweep(tmp_path):
    start_sweep(tmp_path / "a", "aaaa1111")
    start_sweep(tmp_path / "b", "bbbb2222")
    (tmp_path / "a").rename(tmp_path / "c")
    shutil.rmtree(tmp_path / "b")
    start_sweep(tmp_path / "b", "dddd4444")
    assert list_sweeps() == [tmp_path / "b"]
    for sweep_id in ("aaaa1111", "bbbb2222"):
        with pytest.raises(SweepDirectoryError):
            find_sweep(sweep_id)
    remember_sweep("aaaa1111", tmp_path / "c", os.getcwd())  # it was joined where it is now
    assert find_sweep("aaaa1111") == tmp_path / "c"


def test_a_sweep_is_listed_once():
    start_sweep("outputs/abcd1234", "abcd1234")
    Path("link").symlink_to("outputs")
    remember_sweep("abcd1234", Path("link/abcd1234"), os.getcwd())
    assert list_sweeps(thorough=True) == [Path("outputs/abcd1234")]


def test_a_sweep_inside_another_one_is_no_sweep_of_the_project(tmp_path):
    """``wandbsweep evaluate`` starts one in the directory of the sweep that it evaluates."""
    start_sweep(tmp_path / "own", "aaaaaaaa")
    start_sweep(tmp_path / "own/evaluate/0/3", "bbbbbbbb")
    assert list_sweeps(everywhere=True) == [tmp_path / "own"]


def test_concurrent_starts():
    code = (
        "import sys, pathlib; from wandbsweep.sweep.index import remember_sweep\n"
        "for k in range(100): remember_sweep(f'{sys.argv[1]}{k}', pathlib.Path(f'/scratch/{sys.argv[1]}{k}'), '/here')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert {known.sweep_id for known in read_index()} == {f"{name}{k}" for name in "abc" for k in range(100)}


def test_damaged_lines(state):
    remember_sweep("abcd1234", Path("/scratch/a"), "/project")
    with (state / "wandbsweep" / "sweeps.jsonl").open("ab") as file:
        file.write(b'{"a later": "version"}\n[]\n\xff\n{"sweep_id": 1, "directory": 2, "project": 3}\n{"sweep_id": "to')
    remember_sweep("bbbb2222", Path("/scratch/b\udce9"), "/project")
    assert [(k.sweep_id, k.directory) for k in read_index()] == [
        ("bbbb2222", "/scratch/b\udce9"),
        ("abcd1234", "/scratch/a"),
    ]


def test_the_oldest_of_very_many_are_forgotten(state, monkeypatch):
    monkeypatch.setattr(index, "MAX_BYTES", 10_000)
    for number in range(300):
        remember_sweep(f"id{number}", Path(f"/scratch/{number}"), "/project")
    size = (state / "wandbsweep" / "sweeps.jsonl").stat().st_size
    known = [int(entry.sweep_id[2:]) for entry in read_index()]
    assert size < 11_000
    assert known == list(range(299, 299 - len(known), -1))
    assert len(known) > 50


@pytest.mark.parametrize("kind", ["a file", *(["read-only"] if os.geteuid() else [])])  # root may write everywhere
def test_a_home_that_cannot_be_written(state, kind, capfd):
    if kind == "a file":
        state.write_text("")
    else:
        state.mkdir(mode=0o500)
    start_sweep("outputs/abcd1234", "abcd1234")
    assert read_index() == []
    assert find_sweep("abcd1234").name == "abcd1234"
    assert capfd.readouterr() == ("", "")


def test_where_it_lies(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert find_index() == Path("/home/someone/.local/state/wandbsweep")


def test_it_holds_paths_and_ids_only(state, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    create_sweep(load_sweep(RANDOM), tmp_path / "kept", storage=url).close()
    (line,) = (state / "wandbsweep" / "sweeps.jsonl").read_text().splitlines()
    assert json.loads(line) == {"sweep_id": "kept", "directory": str(tmp_path / "kept"), "project": os.getcwd()}
