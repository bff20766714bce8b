"""Readers: the same attempts as the storage has, only what is new each time, and nothing is created."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.storage.conformance import create, disturb, read_all, same
from wandbsweep import SweepDirectoryError
from wandbsweep.storage.base import Reader, Storage, StoredAttempt
from wandbsweep.storage.database import DatabaseReader
from wandbsweep.storage.journal import JournalReader
from wandbsweep.storage.journal_records import JOURNAL
from wandbsweep.storage.open import open_reader, open_storage

Opened = tuple[Storage, Callable[[str], Reader]]


@pytest.fixture(params=["journal", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A storage, and what opens a reader of a study in it."""
    url = None if request.param == "journal" else f"sqlite:///{tmp_path}/store.db"
    storage = open_storage(tmp_path, url)
    yield storage, lambda name: open_reader(tmp_path, name, url)
    storage.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_sees_what_the_storage_has(opened: Opened, seed: int) -> None:
    storage, open_reader = opened
    rng = random.Random(seed)
    studies: dict[str, int] = {}
    for name in ("one", "two"):
        study = storage.create_study(name, ["minimize"])
        assert study is not None
        studies[name] = study
    keys = [create(storage, study) for study in studies.values()]
    readers = {name: open_reader(name) for name in studies}
    known: dict[str, dict[int, StoredAttempt]] = {name: {} for name in studies}
    for _ in range(6):
        for at in range(25):
            disturb(rng, storage, list(studies.values()), keys, at)
        for name, study in studies.items():
            known[name] |= {attempt.key: attempt for attempt in readers[name].changes()}
            stored = read_all(storage, study)
            assert len(stored) == len(known[name])
            assert all(same(attempt, known[name][attempt.key]) for attempt in stored)
            assert readers[name].attributes == storage.read_study_attributes(study)
    closed = {key for key, attempt in known["one"].items() if attempt.closed}
    assert not closed & {attempt.key for attempt in readers["one"].changes()}
    assert readers["one"].list_studies() == ["one", "two"]


def test_what_was_read_does_not_change(opened: Opened) -> None:
    storage, open_reader = opened
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    key, reader = create(storage, study), open_reader("sweep")
    (before,) = reader.changes()
    storage.report(key, 0, 1.0)
    (after,) = reader.changes()
    assert (before.reports, after.reports) == ({3: 0.5}, {3: 0.5, 0: 1.0})


def test_a_study_that_is_not_there(opened: Opened) -> None:
    _, open_reader = opened
    assert list(open_reader("none").changes()) == []
    assert open_reader("none").attributes == {}


def test_the_last_heartbeat(opened: Opened) -> None:
    storage, open_reader = opened
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    leases = storage.open_leases(study)
    assert leases is not None
    reader = open_reader("sweep")
    reader.changes()
    assert reader.read_last_heartbeat() is None
    for owner in ("a", "b"):
        leases.renew(owner)
    heartbeat = leases.read_heartbeats({"b"})["b"]
    reader.changes()
    assert reader.read_last_heartbeat() == int(heartbeat) / 1e9  # type: ignore[call-overload]
    for owner in ("a", "b"):
        leases.release(owner)
    reader.changes()
    assert reader.read_last_heartbeat() is None


def test_reading_creates_nothing(tmp_path: Path) -> None:
    for reader in (
        open_reader(tmp_path, "sweep"),
        open_reader(None, "x", f"sqlite:///{tmp_path}/none.db", wait_s=0),
    ):
        assert (list(reader.changes()), list(reader.list_studies()), reader.attributes) == ([], [], {})
        assert reader.read_last_heartbeat() is None
    assert list(tmp_path.iterdir()) == []


def test_tables_of_another_version(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER, name TEXT)")
    connection.close()
    with pytest.raises(SweepDirectoryError, match=r"Cannot read sqlite:///.*/other.db: no such column"):
        DatabaseReader(f"sqlite:///{file}", "x", wait_s=0).changes()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "connection failed: .*refused"),
        ("nosuch://u:secret@127.0.0.1:1/x", "Can't load plugin"),
        ("sqlite:///nowhere/", "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(SweepDirectoryError, match=rf"Cannot read .*: {reason}") as raised:
        open_reader(None, "x", url, wait_s=0).changes()
    assert "secret" not in str(raised.value)


def test_a_line_that_is_being_written(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    storage.set_study_attribute(study, "a", 1)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    reader = JournalReader(tmp_path, "sweep")
    reader.changes()
    assert reader.attributes == {}
    path.write_bytes(whole)
    reader.changes()
    assert reader.attributes == {"a": 1}
    assert not reader.is_replaced()
    path.write_bytes(whole[:10])
    assert reader.is_replaced()
    path.unlink()
    assert reader.is_replaced()


@pytest.mark.parametrize("line", [b"}{", b"3", b"[]", b"{}", b'{"op_code": 4}'])
def test_a_damaged_journal(tmp_path: Path, line: bytes) -> None:
    open_storage(tmp_path).create_study("sweep", ["minimize"])
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(line + b"\n")
    with pytest.raises(SweepDirectoryError, match="the journal is damaged"):
        JournalReader(tmp_path, "sweep").changes()
