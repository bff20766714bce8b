"""The embedded controller on PostgreSQL and MariaDB: what every controller must do, and faults of a database."""

from __future__ import annotations

import secrets

import pytest

from tests.controllers.test_embedded import EmbeddedTestCase
from tests.services.fixtures import use_database


@pytest.fixture(scope="module")
def shared_postgres(postgres_server):
    yield from use_database(postgres_server)


@pytest.fixture(scope="module")
def shared_mariadb(mariadb_server):
    yield from use_database(mariadb_server)


class OnDatabase(EmbeddedTestCase):
    """All tests share one database, in which each ``make`` is a new study: creating the tables takes a second."""

    @pytest.fixture(autouse=True)
    def named(self):
        self.token = secrets.token_hex(4)

    def locate(self):
        return {"path": self.tmp_path / f"{self.token}-{self.made}", "storage": self.database.url}


class TestPostgreSQL(OnDatabase):
    @pytest.fixture(autouse=True)
    def on(self, shared_postgres):
        self.database = shared_postgres


@pytest.mark.slow  # and rarely another result than PostgreSQL's; test_backends.py tests each storage's own code
class TestMariaDB(OnDatabase):
    @pytest.fixture(autouse=True)
    def on(self, shared_mariadb):
        self.database = shared_mariadb
