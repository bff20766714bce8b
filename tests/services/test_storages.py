"""The embedded controller on PostgreSQL and MariaDB: what every controller must do, and faults of a database."""

from __future__ import annotations

import secrets

import pytest

from tests.controllers.test_embedded import EmbeddedTestCase


class OnDatabase(EmbeddedTestCase):
    """Each ``make`` is a new study in one database."""

    @pytest.fixture(autouse=True)
    def named(self):
        self.token = secrets.token_hex(4)

    def locate(self):
        return {"path": self.tmp_path / f"{self.token}-{self.made}", "storage": self.database.url}


class TestPostgreSQL(OnDatabase):
    @pytest.fixture(autouse=True)
    def on(self, postgres):
        self.database = postgres


class TestMariaDB(OnDatabase):
    @pytest.fixture(autouse=True)
    def on(self, mariadb):
        self.database = mariadb
