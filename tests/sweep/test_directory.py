"""A sweep's directory: finding it, making it, keeping others out of it."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import GRID
from wandbsweep import SweepDirectoryError, create_sweep, load_sweep
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import Application, LaunchRecord, TrialOverrides


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_ids_are_eight_letters_and_digits_and_differ():
    ids = {sweepdir.make_sweep_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[a-z][a-z0-9]{7}", sweep_id) for sweep_id in ids)


def test_a_sweep_is_found_by_its_directory_or_its_id(here):
    create_sweep(load_sweep(GRID), "outputs/abcd1234")
    create_sweep(load_sweep(GRID), here / "elsewhere")
    assert sweepdir.find_sweep("abcd1234") == here / "outputs" / "abcd1234"
    assert sweepdir.find_sweep("outputs/abcd1234") == here / "outputs" / "abcd1234"
    assert sweepdir.find_sweep(here / "elsewhere") == here / "elsewhere"


def test_a_sweep_that_is_not_there_is_refused_with_those_that_are(here):
    with pytest.raises(SweepDirectoryError, match="there is no sweep in outputs/"):
        sweepdir.find_sweep("nothing")
    create_sweep(load_sweep(GRID), "outputs/abcd1234")
    with pytest.raises(SweepDirectoryError, match=r"'nothing'.*are abcd1234"):
        sweepdir.find_sweep("nothing")


def test_sweeps_of_a_project_with_a_place_of_its_own_are_found(here, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)  # another user has started them
    for name in ("logs/train/multiruns/old", "logs/train/multiruns/new", ".hidden/third"):
        create_sweep(load_sweep(GRID), name)
        record = LaunchRecord(f"id-{name[-3:]}", Application(str(here), "config", "app", []), TrialOverrides([], []))
        record.save(here / name)
    create_sweep(load_sweep(GRID), "conf")  # such as a W&B sweep file of the name sweep.yaml: Hydra has not started it
    os.utime("logs/train/multiruns/old/sweep.yaml", (0, 0))
    assert [path.name for path in sweepdir.list_sweeps()] == ["new", "old"]
    assert sweepdir.find_sweep("id-old") == here / "logs/train/multiruns/old"
    with pytest.raises(SweepDirectoryError, match=r"'id-ird'.*sweeps in this project are logs/train/multiruns/new, "):
        sweepdir.find_sweep("id-ird")
    create_sweep(load_sweep(GRID), "outputs/abcd1234")
    assert [path.name for path in sweepdir.list_sweeps()] == ["abcd1234"]


def test_what_was_created_can_be_read_again(tmp_path):
    create_sweep(load_sweep(GRID), tmp_path / "new" / "sweep")
    assert sweepdir.read_spec(tmp_path / "new" / "sweep") == load_sweep(GRID)
    with pytest.raises(SweepDirectoryError, match="holds no sweep"):
        sweepdir.read_spec(tmp_path)


def test_differences_name_what_is_not_the_same():
    other = {"method": "random", "metric": {"name": "acc"}, "parameters": {"b": {"value": 1}}}
    stored = load_sweep(GRID).identity
    found = sweepdir.find_differences(stored, load_sweep(other).identity)
    assert [line.split(":")[0] for line in found] == ["method", "metric", "parameters.a", "parameters.b"]
    assert sweepdir.find_differences(stored, load_sweep(GRID | {"run_cap": 1}).identity) == []


def test_one_and_true_are_different_spaces():
    one, true = (load_sweep({"method": "grid", "parameters": {"a": {"values": [v]}}}) for v in (1, True))
    assert len(sweepdir.find_differences(one.identity, true.identity)) == 1


def test_long_lists_differ_in_their_last_value():
    one, other = (load_sweep({"method": "grid", "parameters": {"a": {"values": [*range(1000), v]}}}) for v in (-1, -2))
    (line,) = sweepdir.find_differences(one.identity, other.identity)
    assert len(line) < 500


def test_agents_get_unique_numbers(tmp_path):
    sweepdir.make_directory(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda count: sweepdir.reserve_agents(tmp_path, count), [1, 2, 3] * 4))
    assert sorted(number for numbers in found for number in numbers) == list(range(24))
    assert all(numbers == list(range(numbers[0], numbers[0] + len(numbers))) for numbers in found)


def test_a_forgotten_sweep_leaves_what_its_trials_wrote(tmp_path):
    create_sweep(load_sweep(GRID), tmp_path)
    (tmp_path / "0").mkdir()
    sweepdir.remove_sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [sweepdir.LOCK, "0"]


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SweepDirectoryError, match="Cannot write"):
        sweepdir.make_directory(tmp_path / "file" / "below")
