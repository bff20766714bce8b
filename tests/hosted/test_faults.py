"""Faults of W&B and the network: afterwards, runs at W&B and trials here still match."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.configurations import GRID, RANDOM
from tests.hosted.parts import QUICK, make_controller, wait_until
from tests.hosted.server import API_KEY, ENTITY
from wandbsweep import Outcome, load_sweep
from wandbsweep.controllers.hosted.log import HostedLog, read_run
from wandbsweep.controllers.hosted.transport import Transport, WandbError
from wandbsweep.wandb_runs.auth import Login


def run_all(controller, agents="ab", steps=2):
    """Run the sweep to its end with two agents."""

    def agent(name):
        while trial := controller.ask(name):
            for step in range(steps):
                controller.report(trial, step, {"loss": float(step)})
            controller.complete(trial, Outcome.finished())

    with ThreadPoolExecutor(len(agents)) as pool:
        list(pool.map(agent, agents))


def assert_same(server, controller, *, trials):
    """Assert that runs and trials match one to one, with their parameters, histories and states."""
    runs = {run.name: run for run in server.list_runs(controller.sweep_id)}
    entries = controller.log.entries()
    assert len(entries) == trials
    assert {read_run(entry).run_id for entry in entries} == set(runs)
    assert sorted(entry.number for entry in entries) == list(range(trials))
    for entry in entries:
        run = runs[read_run(entry).run_id]
        record = controller.trials()[entry.number]
        assert run.params == record.params
        assert run.values("loss") == list(record.reports.values())
        assert (run.state, record.state) == ("finished", "finished")


@pytest.fixture
def grid(server):
    controller = make_controller(server, {**GRID, "metric": {"name": "loss"}})
    yield controller
    controller.close()


@pytest.fixture
def endless(server):
    controller = make_controller(server, RANDOM)
    yield controller
    controller.close()


@pytest.mark.parametrize(
    ("operation", "how"),
    [
        ("Heartbeat", {"status": 500, "times": 3}),
        ("Heartbeat", {"status": 502, "times": 3}),
        ("CreateAgent", {"status": 503, "times": 2}),
        ("Runs", {"status": 500, "times": 2}),
        ("Heartbeat", {"status": 429, "times": 2, "headers": {"Retry-After": "0.1"}}),
        (".*", {"status": 429, "times": 6}),
        ("Heartbeat", {"drop": True, "times": 3}),
        ("CreateAgent", {"drop": True, "times": 2}),
        (".*", {"drop": True, "times": 8}),
        ("Heartbeat", {"delay_s": 0.1, "times": 4}),
    ],
)
def test_a_sweep_survives(server, grid, operation, how):
    fault = server.fail(operation, **how)
    run_all(grid)
    assert fault.met > 0
    assert_same(server, grid, trials=3)


def test_a_lost_reply_leaves_no_run_behind_if_the_server_lists_no_runs_of_agents(server, grid, monkeypatch):
    monkeypatch.delattr(type(server), "on_GetAgentRuns")
    server.fail("Heartbeat", drop=True, times=2)
    run_all(grid)
    assert_same(server, grid, trials=3)


def test_a_request_that_is_executed_late_leaves_no_run_behind(server, grid):
    grid._client.transport.timeout_s = 0.2
    fault = server.fail("Heartbeat", delay_s=0.5)
    trial = grid.ask("a")
    wait_until(lambda: len(server.list_runs(grid.sweep_id)) == 2)  # the late one, too
    assert fault.met
    grid.complete(trial, Outcome.finished(0.0))
    run_all(grid)
    runs, entries = server.list_runs(grid.sweep_id), grid.log.entries()
    assert len(runs) == len(entries) == 3
    assert all(run.state == "finished" for run in runs)


def test_a_run_that_a_lost_reply_gave_to_an_ended_agent_is_taken_over(server, tmp_path):
    first = make_controller(server, RANDOM | {"run_cap": 2}, directory=tmp_path)
    first._client.transport.timeout_s = 0.2
    server.fail("Heartbeat", delay_s=0.5)
    first.complete(first.ask("a"), Outcome.finished(0.0))  # it runs only one trial
    wait_until(lambda: len(server.list_runs(first.sweep_id)) == 2)
    first.close()
    second = make_controller(server, RANDOM | {"run_cap": 2}, first.sweep_id, directory=tmp_path)
    run_all(second)
    second.close()
    assert {run.state for run in server.list_runs(first.sweep_id)} == {"finished"}
    assert [trial.state for trial in second.trials()] == ["finished"] * 2


def test_retry_after_is_respected(server, grid):
    server.fail("CreateAgent", status=429, headers={"Retry-After": "0.4"})
    start = time.monotonic()
    grid.ask("a")
    assert time.monotonic() - start >= 0.4


def test_retries_end(server):
    controller = make_controller(server, GRID, backoff=replace(QUICK, total_s=0.2))
    server.fail("Heartbeat", status=500, times=10_000)
    with pytest.raises(WandbError, match="500"):
        controller.ask("a")


def test_an_idle_agent_sends_no_heartbeat(server, endless):
    trial = endless.ask("a")
    endless.complete(trial, Outcome.finished(0.0))
    count = len(server.find_requests("Heartbeat"))
    time.sleep(0.3)  # six heartbeats
    assert len(server.find_requests("Heartbeat")) == count
    assert len(server.list_runs(endless.sweep_id)) == 1


def test_a_stop_reaches_the_trial_within_a_heartbeat(server, endless):
    trial, other = endless.ask("a"), endless.ask("b")
    endless.report(trial, 0, {"loss": 0.5})
    server.runs[read_run(endless.log.find_open(trial.key)).run_id].stop = True
    wait_until(lambda: endless.check(trial).stop)
    decision = endless.report(trial, 1, {"loss": 0.4})
    assert decision.stop
    assert decision.reason == "W&B stopped the run"
    assert not endless.report(other, 0, {"loss": 0.1}).stop
    endless.complete(trial, Outcome.stopped(decision.reason))
    assert endless.trials()[0].state == "stopped"
    run = server.runs[read_run(endless.log.entries()[0]).run_id]
    assert (run.state, run.values("loss")) == ("finished", [0.5, 0.4])


def test_a_stop_of_hyperband(server):
    controller = make_controller(server, RANDOM | {"early_terminate": {"type": "hyperband", "min_iter": 2}})
    for loss in (0.3, 0.2, 0.1):
        trial = controller.ask("a")
        for step in range(2):
            controller.report(trial, step, {"loss": loss})
        controller.complete(trial, Outcome.finished())
    trial = controller.ask("a")
    for step in range(2):
        controller.report(trial, step, {"loss": 0.9})
    wait_until(lambda: controller.check(trial).stop)
    controller.close()


def test_a_paused_sweep_gives_nothing_until_it_is_resumed(server, endless):
    server.sweeps[endless.sweep_id].state = "PAUSED"
    assert not endless.ready("a")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(endless.ask, "a")
        wait_until(lambda: len(server.find_requests("Heartbeat")) >= 3)
        assert not asked.done()
        server.sweeps[endless.sweep_id].state = "RUNNING"
        assert asked.result(timeout=5).number == 0


def test_a_server_that_refuses_most_queries(server, monkeypatch):
    """Everything but registration and heartbeats may be refused: trials run, but lost replies are not recovered."""
    for name in ("GetAgentRuns", "GetSweep", "Runs"):
        monkeypatch.delattr(type(server), f"on_{name}")
    controller = make_controller(server, {**GRID, "metric": {"name": "loss"}}, make_writer=None)
    assert controller.ready("a")
    assert controller.completion() is None
    run_all(controller)
    controller.close()
    assert [trial.state for trial in controller.trials()] == ["finished"] * 3
    server.sweeps[controller.sweep_id].state = "FINISHED"
    again = make_controller(server, GRID, controller.sweep_id)
    assert again.ask("a") is None


def test_closing_ends_a_waiting_ask(server, endless):
    server.sweeps[endless.sweep_id].state = "PAUSED"
    threading.Timer(0.2, endless.close).start()
    assert endless.ask("a") is None


@pytest.mark.parametrize("way", ["deleted", "FINISHED"])
def test_a_trial_outlives_its_sweep(server, endless, way):
    trial = endless.ask("a")
    if way == "deleted":
        gone = server.sweeps.pop(endless.sweep_id)
    else:
        server.sweeps[endless.sweep_id].state = way
    count = len(server.find_requests("Heartbeat"))
    wait_until(lambda: len(server.find_requests("Heartbeat")) > count + (way != "deleted"))
    assert not endless.report(trial, 0, {"loss": 0.5}).stop
    endless.complete(trial, Outcome.finished())
    assert endless.ask("a") is None
    assert endless.trials()[0].state == "finished"
    assert server.runs[read_run(endless.log.entries()[0]).run_id].state == "finished"
    assert way == "FINISHED" or gone.given == 1


def test_cancelling_stops_running_trials(server, endless):
    trial = endless.ask("a")
    server.sweeps[endless.sweep_id].state = "CANCELED"
    wait_until(lambda: endless.check(trial).stop)
    endless.complete(trial, Outcome.stopped("cancelled"))
    assert endless.ask("a") is None


def test_the_error_of_a_wrong_key_does_not_show_it(server):
    transport = Transport(Login(server.url, "wrong" * 10, ENTITY, "digits"), QUICK)
    with pytest.raises(WandbError, match="wandb login --relogin") as caught:
        transport.call("Viewer", "query Viewer { viewer { id } }", {})
    assert "wrong" not in str(caught.value)


def test_a_redirect_is_not_followed_with_the_key(server):
    server.fail("Viewer", status=302, headers={"Location": f"{server.url}/elsewhere"})
    transport = Transport(Login(server.url, API_KEY, ENTITY, "digits"), QUICK)
    with pytest.raises(WandbError, match="302"):
        transport.call("Viewer", "query Viewer { viewer { id } }", {})


def test_an_address_that_is_not_graphql(server):
    transport = Transport(Login(f"{server.url}/elsewhere", API_KEY, ENTITY, "digits"), QUICK)
    with pytest.raises(WandbError, match="404"):
        transport.call("Viewer", "query Viewer { viewer { id } }", {})


def test_the_trial_of_a_dead_agent_continues_in_the_same_run(server, tmp_path, monkeypatch):
    controller = make_controller(server, RANDOM, directory=tmp_path)
    trial = controller.ask("a")
    controller.report(trial, 0, {"loss": 0.5})
    controller.close()  # as if its process died
    monkeypatch.setattr("wandbsweep.controllers.hosted.controller.is_dead", lambda process: True)
    second = make_controller(server, RANDOM, controller.sweep_id, directory=tmp_path)
    again = second.ask("a")
    assert (again.number, again.params, again.attempt) == (0, trial.params, 2)
    second.report(again, 1, {"loss": 0.4})
    second.complete(again, Outcome.finished())
    second.close()
    (run,) = server.list_runs(second.sweep_id)
    assert (run.state, run.values("loss")) == ("finished", [0.5, 0.4])


def test_a_crashed_trial_is_repeated_up_to_max_attempts(server, endless):
    for attempt in (1, 2, 3):
        trial = endless.ask("a")
        assert (trial.number, trial.attempt) == (0, attempt)
        endless.crash(trial, "killed by signal 9")
    assert endless.trials()[0].state == "crashed"
    assert endless.trials()[0].reason == "killed by signal 9; attempt 3 of 3"
    assert server.runs[read_run(endless.log.entries()[0]).run_id].state == "failed"
    assert endless.ask("a").number == 1


def test_agents_on_several_machines_share_numbers(server, tmp_path):
    first = make_controller(server, RANDOM | {"run_cap": 20}, directory=tmp_path)
    others = [make_controller(server, RANDOM, first.sweep_id, directory=tmp_path) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run_all, [first, *others]))
    assert_same(server, first, trials=20)
    for controller in (first, *others):
        controller.close()


def test_a_torn_line_is_cut_off(tmp_path):
    log = HostedLog(tmp_path / "log", load_sweep(RANDOM))
    entry = log.claim("r0", {}, {"x": 1}, "a")
    with open(tmp_path / "log", "ab") as file:
        file.write(b'{"key": 0, "st')
    assert log.report(entry.newest.key, 0, {"loss": 0.5})
    assert [r.reports for r in HostedLog(tmp_path / "log", load_sweep(RANDOM)).records()] == [{0: 0.5}]


def test_commands_set_the_state_at_wandb(server, endless):
    for order, state in [("paused", "PAUSED"), ("running", "RUNNING"), ("stopped", "FINISHED")]:
        endless.command = order
        assert (server.sweeps[endless.sweep_id].state, endless.command) == (state, order)
    assert endless.completion().reason == "the sweep is finished at W&B"


def test_live_agents_and_orphans(server, endless, monkeypatch):
    assert not endless.has_live_agents()
    trial = endless.ask("a")
    assert endless.has_live_agents()
    monkeypatch.setattr("wandbsweep.controllers.hosted.processes.is_dead", lambda process: True)
    assert not endless.has_live_agents()
    endless.close_orphans()
    assert [record.state for record in endless.trials()] == ["crashed"]
    assert not endless.owns(trial)


def test_a_controller_without_a_directory_leaves_no_files(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    controller = make_controller(server, RANDOM)
    controller.complete(controller.ask("a"), Outcome.finished(0.5))
    assert list(tmp_path.iterdir())
    controller.close()
    assert list(tmp_path.iterdir()) == []
