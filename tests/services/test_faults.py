"""A database that restarts, or cannot be reached: no trial is lost, none is run twice."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep
from wandbsweep.errors import SweepDirectoryError

CONFIG = RANDOM | {"run_cap": 12}


@pytest.fixture(params=["postgres", "mariadb"])
def database(request):
    return request.getfixturevalue(request.param)


def run_all(url, path, agent, began=lambda: None):
    """Run trials until there are none; return the numbers of those that this agent ran."""
    controller = create_sweep(load_sweep(CONFIG), path, storage=url)
    done = []
    while trial := controller.ask(agent):
        for step in range(3):
            controller.report(trial, step, {"loss": 1.0 / (step + 1)})
            time.sleep(0.02)
        controller.complete(trial, Outcome.finished())
        done.append(trial.number)
        began()
    controller.close()
    return done


def finished(url, path):
    controller = create_sweep(load_sweep(CONFIG), path, storage=url)
    records = controller.trials()
    controller.close()
    assert all(trial.attempts <= 2 for trial in records)  # the answer to a claim may have been lost
    return [(t.number, t.state, t.history) for t in records]


WHOLE = [(number, "finished", [1.0, 0.5, 1 / 3]) for number in range(12)]


@pytest.mark.parametrize("fault", ["restart", "kill"])
def test_agents_wait_out_a_restart(database, tmp_path, fault):
    started = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        agents = [pool.submit(run_all, database.url, tmp_path, str(k), started.set) for k in range(3)]
        assert started.wait(30)
        if fault == "kill":
            database.server.kill()
            database.server.start()
        else:
            database.server.restart()
        numbers = [number for agent in agents for number in agent.result(60)]
    assert sorted(numbers) == list(range(12))
    assert finished(database.url, tmp_path) == WHOLE


def test_agents_wait_out_a_cut_line(database, tmp_path):
    started = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        agents = [pool.submit(run_all, database.url_through_proxy, tmp_path, str(k), started.set) for k in range(2)]
        assert started.wait(30)
        database.proxy.cut()
        time.sleep(1.0)
        database.proxy.heal()
        numbers = [number for agent in agents for number in agent.result(60)]
    assert sorted(numbers) == list(range(12))
    assert finished(database.url, tmp_path) == WHOLE


def test_a_claim_whose_answer_was_lost_is_run_all_the_same(database, tmp_path):
    controller = create_sweep(load_sweep(CONFIG | {"run_cap": 2}), tmp_path, storage=database.url)
    lost = controller.ask("a")
    controller._closer.open.discard(lost.key)  # as if the claim's answer had been lost
    first, again = controller.ask("a"), controller.ask("a")
    assert [(t.number, t.attempt) for t in (first, again)] == [(1, 1), (lost.number, 2)]
    controller.close()


def test_a_sweep_is_found_by_the_databases_address(database, tmp_path):
    run_all(database.url, tmp_path, "a")
    results = open_sweep(f"{database.url}#{tmp_path.name}")
    assert (len(results.trials), results.spec.metric.name, results.directory) == (12, "loss", tmp_path)
    assert [trial.number for trial in open_sweep(tmp_path).trials] == list(range(12))


def test_a_sweep_that_is_not_there_is_named(database):
    with pytest.raises(SweepDirectoryError, match="nosuch"):
        open_sweep(f"{database.url}#nosuch")


def test_no_password_is_written_anywhere(database, tmp_path):
    run_all(database.url, tmp_path, "a")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert database.password.encode() not in written
