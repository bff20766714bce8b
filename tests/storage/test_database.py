"""The storage in a database, here SQLite; tests/services has servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, OperationalError

from tests.storage.conformance import Open, StorageTestCase, create
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.base import AttemptState, Storage
from wandbsweep.storage.database import DatabaseStorage
from wandbsweep.storage.database_connections import ReleasingPool, retry_unreachable, share_connections
from wandbsweep.storage.open import open_storage


class TestSQLite(StorageTestCase):
    @pytest.fixture
    def open(self, tmp_path: Path) -> Iterator[Open]:
        opened: list[Storage] = []

        def open() -> Storage:
            opened.append(open_storage(None, f"sqlite:///{tmp_path}/sweep.db"))
            return opened[-1]

        yield open
        for storage in opened:
            storage.close()


class TestSQLiteWhoseAnswersAreLost(TestSQLite):
    """The connection breaks once all was read; what was new is still new when it is read again."""

    @pytest.fixture(autouse=True)
    def lose_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = DatabaseStorage.read

        def read_twice(self: DatabaseStorage, query: Callable[[Any], Any]) -> Any:
            read(self, query)
            return read(self, query)

        monkeypatch.setattr(DatabaseStorage, "read", read_twice)


def test_a_directory_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SweepDirectoryError, match=f"there is no directory {tmp_path}/none; create it, or name another"):
        open_storage(None, f"sqlite:///{tmp_path}/none/sweep.db", wait_s=60)


def test_optuna_reads_what_we_wrote(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweep.db"
    storage = open_storage(None, url)
    study = storage.create_study("sweep", ["maximize", "minimize"])
    assert study is not None
    key = create(storage, study)
    storage.close_attempt(key, AttemptState.COMPLETE, [0.5, float("inf")])
    storage.close()
    optuna = RDBStorage(url)
    (trial,) = optuna.get_all_trials(study)
    assert trial.values == [0.5, float("inf")]
    assert [direction.name for direction in optuna.get_study_directions(study)] == ["MAXIMIZE", "MINIMIZE"]
    optuna.remove_session()


@pytest.fixture
def pool(tmp_path: Path) -> ReleasingPool:
    import sqlite3

    from sqlalchemy import create_engine

    made: list[Any] = []

    def connect() -> Any:
        made.append(sqlite3.connect(tmp_path / "x.db", check_same_thread=False))
        return made[-1]

    pool = create_engine("sqlite://", creator=connect, poolclass=ReleasingPool).pool
    assert isinstance(pool, ReleasingPool)
    pool.made = made  # type: ignore[attr-defined]
    return pool


def count_connections(pool: ReleasingPool, times: int) -> int:
    """How many connections are opened for ``times`` operations, one after another."""
    before = len(pool.made)  # type: ignore[attr-defined]
    for _ in range(times):
        pool.connect().close()
    return len(pool.made) - before  # type: ignore[attr-defined]


def test_connections_are_shared_inside_a_block_only_and_by_its_thread(pool: ReleasingPool) -> None:
    assert count_connections(pool, 3) == 3
    with share_connections():
        with share_connections():
            assert count_connections(pool, 3) == 1
        assert count_connections(pool, 3) == 0
        others: list[int] = []
        thread = threading.Thread(target=lambda: others.append(count_connections(pool, 2)))
        thread.start()
        thread.join()
        assert others == [2]
        pool.release()
        assert count_connections(pool, 3) == 1
    assert count_connections(pool, 2) == 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_database_that_cannot_be_reached_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wrapped: bool
) -> None:
    monkeypatch.setattr("wandbsweep.retry.time.sleep", lambda seconds: None)
    failures = iter([OperationalError("SELECT 1", {}, Exception("gone")) for _ in range(3)])

    def ask() -> str:
        if (error := next(failures, None)) is None:
            return "answer"
        if wrapped:  # as Optuna does with some
            raise StorageInternalError from error
        raise error

    assert retry_unreachable(ask, 60) == "answer"
    assert caplog.text.count("The database cannot be reached") == 1


def test_other_errors_of_a_database_are_raised() -> None:
    def ask() -> None:
        raise IntegrityError("INSERT", {}, Exception("twice"))

    with pytest.raises(IntegrityError):
        retry_unreachable(ask, 60)
