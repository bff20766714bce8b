"""Servers for tests: each worker that needs one has its own, so that a test may kill it.

Where a server cannot be had, its tests are skipped, and in CI (where ``CI`` is set) they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.databases import MariaDB, PostgreSQL, Server
from scripts.debian import Unavailable
from scripts.server_directory import server_directory
from scripts.slurm.cluster import Cluster
from tests.services.proxy import Proxy

__all__ = ["mariadb", "mariadb_server", "postgres", "postgres_server", "services", "slurm_cluster"]


@pytest.fixture(scope="session")
def services() -> Iterator[Path]:
    """Where this process keeps its servers, which end with it."""
    with server_directory() as directory:
        yield directory


def bring_up(server: Server | Cluster) -> None:
    try:
        server.up()
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI has to run this: {reason}", pytrace=False)
        pytest.skip(str(reason).splitlines()[0])


@pytest.fixture(scope="session")
def slurm_cluster(services: Path) -> Cluster:
    """For tests that kill nothing of it and end their jobs; ``slurm`` of tests/slurm sees to that itself."""
    cluster = Cluster(services / "slurm")
    bring_up(cluster)
    return cluster


@pytest.fixture(scope="session")
def postgres_server(services: Path) -> PostgreSQL:
    server = PostgreSQL(services / "postgres")
    bring_up(server)
    return server


@pytest.fixture(scope="session")
def mariadb_server(services: Path) -> MariaDB:
    server = MariaDB(services / "mariadb")
    bring_up(server)
    return server


class Database:
    """An empty database on a server that the test may stop, kill and cut off; it is whole again afterwards."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.make_database()
        self._proxy: Proxy | None = None

    @property
    def password(self) -> str:
        return self.server.password

    @property
    def url(self) -> str:
        """For ``hydra.sweeper.storage`` and ``create_sweep``, password included."""
        return self.server.url(self.name)

    @property
    def url_without_password(self) -> str:
        return self.server.url(self.name, password=False)

    @property
    def url_through_proxy(self) -> str:
        """For clients that ``proxy.cut()`` cuts off."""
        return self.server.url(self.name, port=self.proxy.port)

    @property
    def proxy(self) -> Proxy:
        """The network: ``cut()``, ``cut(silently=True)``, ``heal()``. It lives in the test's process."""
        self._proxy = self._proxy or Proxy(self.server.port)
        return self._proxy

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.close()
        self.server.start()


def use_database(server: Server) -> Iterator[Database]:
    database = Database(server)
    yield database
    database.close()


@pytest.fixture
def postgres(postgres_server: PostgreSQL) -> Iterator[Database]:
    yield from use_database(postgres_server)


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> Iterator[Database]:
    yield from use_database(mariadb_server)
