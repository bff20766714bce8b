"""The throw-away databases: what other tests take for granted."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.services.fixtures import Database


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Return the last statement's rows, over a new connection."""
    patience = {"connect_timeout": 2}
    if url.startswith("mysql"):
        patience["read_timeout"] = 2
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=patience)
    with engine.begin() as connection:
        for statement in statements[:-1]:
            connection.execute(sa.text(statement))
        return [tuple(row) for row in connection.execute(sa.text(statements[-1]))]


FILLED = ("CREATE TABLE t (x INT)", "INSERT INTO t VALUES (3)", "SELECT x FROM t")


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_what_was_written_outlives_the_server(database: Database, how: str) -> None:
    run(database.url, *FILLED)
    getattr(database.server, how)()
    database.server.start()
    assert run(database.url, "SELECT x FROM t") == [(3,)]


def test_the_password_is_needed(database: Database) -> None:
    assert database.password not in database.url_without_password
    with pytest.raises(sa.exc.OperationalError):
        run(database.url.replace(database.password, "wrong"), "SELECT 1")


@pytest.mark.parametrize("silently", [False, True])
def test_the_network_can_be_cut_and_healed(database: Database, silently: bool) -> None:
    assert run(database.url_through_proxy, "SELECT 1") == [(1,)]
    database.proxy.cut(silently=silently)
    with pytest.raises(sa.exc.OperationalError):
        run(database.url_through_proxy, "SELECT 1")
    database.proxy.heal()
    assert run(database.url_through_proxy, "SELECT 1") == [(1,)]


def test_each_test_has_an_empty_database(database: Database) -> None:
    run(database.url, *FILLED)
    assert Database(database.server).url != database.url
    with pytest.raises((sa.exc.ProgrammingError, sa.exc.OperationalError)):
        run(Database(database.server).url, "SELECT x FROM t")
