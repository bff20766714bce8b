"""A database written to by statements of our own: Optuna's rules for it hold all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.database import Database, open_database
from wandbsweep.storage.database_connections import Passing


class TestOptunasOwnSuiteOnADatabase(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Database]:
        storage = open_database("sqlite://", wait_s=0)
        yield storage
        storage.remove_session()

    def test_pickle_storage(self, storage: Database) -> None:
        """What is in memory cannot be; see below."""


def test_a_storage_can_be_pickled(tmp_path: Path) -> None:
    import pickle

    storage = open_database(f"sqlite:///{tmp_path}/sweep.db", wait_s=0)
    study = storage.create_new_study([1], "sweep")  # type: ignore[list-item]
    assert pickle.loads(pickle.dumps(storage)).get_study_id_from_name("sweep") == study


def test_a_directory_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SweepDirectoryError, match=f"there is no directory {tmp_path}/none; make it, or name another"):
        open_database(f"sqlite:///{tmp_path}/none/sweep.db", wait_s=60)


def test_optuna_reads_what_we_wrote(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweep.db"
    controller = create_sweep(load_sweep(RANDOM), tmp_path / "sweep", storage=url, seed=0)
    trial = controller.ask("a")
    assert trial is not None
    for step, value in enumerate([0.5, float("nan"), float("-inf"), 0.25]):
        controller.report(trial, step, {"loss": value})
    controller.report(trial, 0, {"loss": 0.75})
    controller.complete(trial, Outcome.finished())
    controller.close()
    (stored,) = RDBStorage(url).get_all_trials(1)
    (mine,) = open_database(url, wait_s=0).get_all_trials(1)
    assert stored.state is TrialState.COMPLETE
    assert (stored.value, stored.params, stored.number) == (0.25, trial.params, 0)
    assert [repr(value) for value in stored.intermediate_values.values()] == ["0.75", "nan", "-inf", "0.25"]
    assert stored.datetime_start is not None
    assert stored.datetime_complete is not None
    assert 0 <= (stored.datetime_complete - stored.datetime_start).total_seconds() < 60
    assert mine.system_attrs == stored.system_attrs


def test_an_answer_that_was_lost_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks once all was read; what stood there is still news when it is read again."""
    read = Database.read

    def twice(self: Database, ask: Any) -> Any:
        read(self, ask)
        return read(self, ask)

    monkeypatch.setattr(Database, "read", twice)
    controller = create_sweep(load_sweep(RANDOM), tmp_path / "sweep", storage=f"sqlite:///{tmp_path}/sweep.db")
    for number in range(3):
        trial = controller.ask("a")
        assert trial is not None
        controller.report(trial, 0, {"loss": 1.0})
        controller.complete(trial, Outcome.finished())
        assert [record.state for record in controller.trials()] == ["finished"] * (number + 1)
    controller.close()


@pytest.fixture
def pool(tmp_path: Path) -> Passing:
    import sqlite3

    from sqlalchemy import create_engine

    made: list[Any] = []

    def connect() -> Any:
        made.append(sqlite3.connect(tmp_path / "x.db", check_same_thread=False))
        return made[-1]

    pool = create_engine("sqlite://", creator=connect, poolclass=Passing).pool
    assert isinstance(pool, Passing)
    pool.made = made  # type: ignore[attr-defined]
    return pool


def used(pool: Passing, times: int) -> int:
    """How many connections were made for ``times`` operations, one after another."""
    before = len(pool.made)  # type: ignore[attr-defined]
    for _ in range(times):
        pool.connect().close()
    return len(pool.made) - before  # type: ignore[attr-defined]


def test_connections_are_kept_inside_a_block_only_and_by_its_thread(pool: Passing) -> None:
    assert used(pool, 3) == 3
    with pool.keeping():
        with pool.keeping():
            assert used(pool, 3) == 1
        assert used(pool, 3) == 0
        others: list[int] = []
        thread = threading.Thread(target=lambda: others.append(used(pool, 2)))
        thread.start()
        thread.join()
        assert others == [2]
        pool.let_go()
        assert used(pool, 3) == 1
    assert used(pool, 2) == 2
