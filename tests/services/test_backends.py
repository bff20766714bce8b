"""Storages and readers on PostgreSQL and MariaDB."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.services.fixtures import Database
from tests.storage.conformance import Open, StorageTestCase, create, disturb, read_all, same
from wandbsweep.storage.base import Storage, StoredAttempt
from wandbsweep.storage.open import open_reader, open_storage


class OnServer(StorageTestCase):
    @pytest.fixture
    def database(self) -> Database:
        raise NotImplementedError

    @pytest.fixture
    def open(self, database: Database) -> Iterator[Open]:
        opened: list[Storage] = []

        def open() -> Storage:
            opened.append(open_storage(None, database.url))
            return opened[-1]

        yield open
        for storage in opened:
            storage.close()


class TestPostgreSQL(OnServer):
    @pytest.fixture
    def database(self, postgres: Database) -> Database:
        return postgres


class TestMariaDB(OnServer):
    @pytest.fixture
    def database(self, mariadb: Database) -> Database:
        return mariadb


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_a_reader_sees_what_the_storage_has(server: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(server)
    storage = open_storage(None, database.url)
    study = storage.create_study("one", ["minimize"])
    assert study is not None
    keys, reader = [create(storage, study)], open_reader(None, "one", database.url)
    known: dict[int, StoredAttempt] = {}
    rng = random.Random(0)
    for _ in range(3):
        for at in range(15):
            disturb(rng, storage, [study], keys, at)
        known |= {attempt.key: attempt for attempt in reader.changes()}
        stored = read_all(storage, study)
        assert len(stored) == len(known)
        assert all(same(attempt, known[attempt.key]) for attempt in stored)
        assert reader.attributes == storage.read_study_attributes(study)
    storage.close()
