"""How many connections an agent holds at a real PostgreSQL, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.storage import database_connections as connections
from wandbsweep.storage.database_connections import AdaptivePool, ReleasingPool, share_connections


@pytest.fixture
def engine(postgres: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url, poolclass=AdaptivePool)
    yield engine
    engine.pool.dispose()


@pytest.fixture
def pool(engine: sa.Engine) -> AdaptivePool:
    assert isinstance(engine.pool, AdaptivePool)
    return engine.pool


def backend(engine: sa.Engine) -> int:
    """The process of the server's that answers."""
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def test_one_is_kept_for_any_thread_and_closed_when_nobody_uses_it(
    engine: sa.Engine, pool: AdaptivePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.5)
    with share_connections():
        first = backend(engine)
        pool.release()  # does not, since the server has many
        assert backend(engine) == first
    with ThreadPoolExecutor(1) as thread, share_connections():
        assert thread.submit(backend, engine).result() == first
    until = time.monotonic() + 10
    while pool._idle and time.monotonic() < until:
        time.sleep(0.05)
    assert not pool._idle
    assert backend(engine) != first


def test_none_is_kept_where_the_server_has_few(
    engine: sa.Engine, pool: AdaptivePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdaptivePool, "_HAS_SPARE", "SELECT false")
    with share_connections():
        first = backend(engine)
        assert backend(engine) == first
        pool.release()
        second = backend(engine)
    third = backend(engine)
    assert len({first, second, third}) == 3


def test_a_server_that_cannot_tell_has_none_to_spare(
    engine: sa.Engine, pool: AdaptivePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdaptivePool, "_HAS_SPARE", "SELECT from_another_database()")
    with share_connections():
        first = backend(engine)
    assert backend(engine) != first


def test_an_ordinary_user_counts_the_connections_of_others(engine: sa.Engine, postgres: Any) -> None:
    """Who may not read what others do must not take the server for an empty one."""
    counting = sa.text(
        AdaptivePool._HAS_SPARE.replace("4 * count(*) < 3 * current_setting('max_connections')::int", "count(*)")
    )
    with engine.connect() as own, engine.connect() as other:
        other.execute(sa.text("SELECT 1"))
        own.execute(sa.text("CREATE ROLE ordinary"))
        own.execute(sa.text("SET LOCAL ROLE ordinary"))
        assert own.execute(counting).scalar_one() >= 2
        own.rollback()


def test_a_pool_that_is_made_inside_shares_too(postgres: Any) -> None:
    with share_connections():
        engine = sa.create_engine(postgres.url, poolclass=ReleasingPool)
        first = backend(engine)
        assert backend(engine) == first
    assert backend(engine) != first


def test_a_controller_that_is_closed_holds_none(postgres: Any, tmp_path: Any) -> None:
    controller = create_sweep(load_sweep(RANDOM), tmp_path, storage=postgres.url)
    trial = controller.ask("a")
    assert trial is not None
    controller.report(trial, 0, {"loss": 1.0})
    controller.complete(trial, Outcome.finished())
    pool = controller._storage._engine.pool
    assert len(pool._idle) == 1
    controller.close()
    assert not pool._idle
