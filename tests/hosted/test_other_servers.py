"""Servers that follow the protocol but answer differently from ours: agents must cope with them."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.configurations import GRID, RANDOM
from tests.hosted.parts import QUICK, ServerWriter, make_controller, wait_until
from tests.hosted.server import API_KEY, ENTITY, WandbServer
from tests.hosted.test_faults import assert_same, run_all
from wandbsweep import Outcome
from wandbsweep.controllers.hosted.client import SweepClient, connect
from wandbsweep.controllers.hosted.controller import HostedController
from wandbsweep.controllers.hosted.decode import convert_hosted_config, decode_params, parse_ref
from wandbsweep.controllers.hosted.doctor import require_healthy_setup
from wandbsweep.controllers.hosted.log import read_run
from wandbsweep.controllers.hosted.sweeps import start_hosted_sweep
from wandbsweep.controllers.hosted.transport import BACKOFF, Transport, WandbError, parse_retry_after
from wandbsweep.current import CurrentTrial, running
from wandbsweep.wandb_runs.auth import Login, read_login

Make = Callable[..., HostedController]


@pytest.fixture
def make(server: WandbServer) -> Iterator[Make]:
    made: list[HostedController] = []

    def make(config: dict[str, Any], **options: Any) -> HostedController:
        made.append(make_controller(server, config, **options))
        return made[-1]

    yield make
    for controller in made:
        controller.close()


@pytest.fixture
def grid(make: Make) -> HostedController:
    return make({**GRID, "metric": {"name": "loss"}})


def make_refusal(message: str, **more: Any) -> dict[str, Any]:
    """Return the body with which GraphQL refuses a request, with status 200."""
    return {"errors": [{"message": message, **more}], "data": None}


@pytest.mark.parametrize(
    "reply",
    [
        make_refusal("internal error"),
        make_refusal("slow down", extensions={"code": 429}),
        {"data": {"agentHeartbeat": None}},
        {"data": {"agentHeartbeat": {"agent": {"id": "a"}, "commands": None}}},
        {"data": {"agentHeartbeat": {"agent": {"id": "a"}, "commands": ""}}},
        {"data": {"agentHeartbeat": {"commands": "[]", "else": 1}}},
        {"data": {"agentHeartbeat": {"commands": json.dumps([{"type": "new"}, 3, None])}}},
        {"data": {}},
        {"data": None},
        [],
    ],
    ids=str,
)
def test_odd_replies_to_a_heartbeat(server: WandbServer, grid: HostedController, reply: Any) -> None:
    """Only the sweep's state or a 404 ends an agent; other replies do not, as for W&B's own agent."""
    fault = server.fail("Heartbeat", status=200, times=4, reply=reply)
    run_all(grid)
    assert fault.met == 4
    assert_same(server, grid, trials=3)


def test_a_stop_arrives_after_failed_heartbeats(server: WandbServer, make: Make) -> None:
    controller = make(RANDOM)
    trial = controller.ask("a")
    assert trial is not None
    fault = server.fail("Heartbeat", status=400, times=3)
    wait_until(lambda: fault.met == 3)
    (run,) = server.runs.values()
    run.stop = True
    wait_until(lambda: controller.check(trial).stop)


@pytest.mark.parametrize("known", [True, False])
def test_a_sweep_that_is_over_refuses_heartbeats(server: WandbServer, grid: HostedController, known: bool) -> None:
    trial = grid.ask("a")
    assert trial is not None
    grid.complete(trial, Outcome.finished(0.5))
    server.fail("Heartbeat", status=400, times=10_000)
    if known:
        server.sweeps[grid.sweep_id].state = "FINISHED"
    else:
        server.fail("GetSweep", status=200, times=10_000)
    assert grid.ask("a") is None


def test_commands_as_a_list(server: WandbServer, grid: HostedController, monkeypatch: pytest.MonkeyPatch) -> None:
    original = WandbServer.on_Heartbeat

    def listed(self: WandbServer, **given: Any) -> Any:
        reply = original(self, **given)
        reply["agentHeartbeat"]["commands"] = json.loads(reply["agentHeartbeat"]["commands"])
        return reply

    monkeypatch.setattr(type(server), "on_Heartbeat", listed)
    run_all(grid)
    assert_same(server, grid, trials=3)


def test_a_run_that_is_given_out_until_it_starts(
    server: WandbServer, grid: HostedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While W&B repeats a run that an agent has, it is not asked without a pause."""
    original = WandbServer._commands

    def again(self: WandbServer, agent: str, sweep: Any, live: Any) -> Any:
        known = [run for run in self.list_runs(sweep.name) if run.agent == agent and not live]
        if known and len(self.find_requests("Heartbeat")) % 4:
            return [{"type": "run", "run_id": known[0].name, "args": known[0].args}]
        return original(self, agent, sweep, live)

    monkeypatch.setattr(type(server), "_commands", again)
    run_all(grid, agents="a")
    assert_same(server, grid, trials=3)
    assert len(server.find_requests("Heartbeat")) < 60


def test_a_trial_whose_client_pressed_ctrl_c_is_stopped(server: WandbServer, make: Make) -> None:
    """W&B's client does so if the run's file stream is answered before the training reports."""
    controller = make(RANDOM)
    trial = controller.ask("a")
    assert trial is not None
    (run,) = server.runs.values()
    run.stop = True
    wait_until(lambda: controller.check(trial).stop)
    controller.release(trial, "its process was asked to end")
    assert [(t.state, t.reason) for t in controller.trials()] == [("stopped", "W&B stopped the run")]
    assert run.state == "finished"


def test_a_stop_from_the_client_is_returned_by_the_next_report() -> None:
    trial = CurrentTrial(0, {})
    with running(trial):
        trial.stop("W&B stopped the run")
    assert trial.report(0, {"loss": 1.0}).reason == "W&B stopped the run"
    trial.stop("again")
    assert trial.decision.reason == "W&B stopped the run"


@pytest.mark.parametrize("knows", [True, False])
def test_a_run_is_resumed_if_the_server_supports_it(
    server: WandbServer, make: Make, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """wandb's client asks first whether it can resume, and gives up if the server refuses the query."""
    if not knows:
        server.fail("RunResumeStatus", status=200, times=10)
    seen = []

    def writer(run: Any, place: Any) -> Any:
        seen.append((run.attempt, run.resumes, run.prepare(place / "params.yaml").get("WANDB_RESUME")))
        return ServerWriter(server, run)

    controller = make(RANDOM, make_writer=writer)
    for attempt in (1, 2):
        trial = controller.ask("a")
        assert trial is not None
        assert trial.attempt == attempt
        controller.report(trial, attempt, {"loss": 0.5})
        controller.release(trial, "preempted")
    assert seen == [(1, False, None), (2, knows, "allow" if knows else None)]
    assert len(server.runs) == 1


def test_a_run_from_another_machine_is_resumed(server: WandbServer, make: Make) -> None:
    """It was preempted there, and its directory is not here."""
    seen = []

    def writer(run: Any, place: Any) -> Any:
        seen.append((run.attempt, run.resumes))
        return ServerWriter(server, run)

    first = make(RANDOM)
    trial = first.ask("a")
    assert trial is not None
    first.report(trial, 0, {"loss": 0.5})
    first.release(trial, "preempted")
    second = make(RANDOM, sweep_id=first.sweep_id, make_writer=writer, elsewhere=True)
    again = second.ask("b")
    assert again is not None
    assert (again.params, second.cap) == (trial.params, None)
    second.report(again, 1, {"loss": 0.4})
    second.complete(again, Outcome.finished())
    (run,) = server.runs.values()
    assert (run.state, run.values("loss"), run.facts["displayName"]) == ("finished", [0.5, 0.4], run.name)
    assert seen == [(1, True)]


def test_a_server_without_a_filter_by_name(
    server: WandbServer, grid: HostedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = WandbServer.on_Runs

    def by_sweep(self: WandbServer, filters: str, **more: Any) -> Any:
        if json.loads(filters) != {"$and": [{"sweep": grid.sweep_id}]}:
            return {"project": {"runs": {"edges": []}}}
        return original(self, filters=filters, **more)

    monkeypatch.setattr(type(server), "on_Runs", by_sweep)
    run_all(grid)
    assert_same(server, grid, trials=3)
    assert grid._client.fetch_run_state(read_run(grid.log.entries()[0]).run_id) == "finished"


def test_constants_that_the_server_leaves_out() -> None:
    spec = convert_hosted_config({"method": "grid", "parameters": {"a": {"value": [1]}, "b": {"values": [2]}}})
    assert decode_params(spec.parameters, {"b": 2.0}) == {"a": [1], "b": 2}


@pytest.mark.parametrize("state", ["finished", "Canceled", "CANCELLED"])
def test_spellings_of_a_state(server: WandbServer, grid: HostedController, state: str) -> None:
    server.sweeps[grid.sweep_id].state = state
    ending = grid.completion()
    assert ending is not None
    assert ending.reason in ("the sweep is finished at W&B", "the sweep was cancelled at W&B")


def test_a_failing_server_when_a_sweep_starts(server: WandbServer, home: Any) -> None:
    """The check before a hosted sweep retries."""
    for how in ({"status": 503}, {"drop": True}, {"status": 429, "headers": {"Retry-After": "0.1"}}):
        server.fail("Viewer", **how)
    require_healthy_setup(None)
    assert len(server.find_requests("Viewer")) == 2  # the dropped one, and the last


def test_the_account_names_the_entity(server: WandbServer) -> None:
    login = Login(server.url, API_KEY)
    assert connect(login, QUICK).login == replace(login, entity=ENTITY, project="uncategorized")
    server.fail("Viewer", status=200, reply={"data": {"viewer": {"entity": None, "username": "me"}}})
    assert connect(login, QUICK).login.entity == "me"
    server.fail("Viewer", status=200, reply={"data": {"viewer": None}})
    with pytest.raises(WandbError, match="set WANDB_ENTITY"):
        connect(login, QUICK)


def test_places_with_spaces_and_other_letters(server: WandbServer) -> None:
    client = SweepClient(Transport(Login(server.url, API_KEY, "große Gruppe", "my project"), QUICK), "s0")
    assert client.fetch_state() is None
    (asked,) = server.find_requests("GetSweep")
    assert (asked["entity"], asked["project"]) == ("große Gruppe", "my project")
    assert parse_ref("wandb:große Gruppe/my project/s0") == ("große Gruppe", "my project", "s0")


def test_no_proxy_is_used_for_this_machine(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in wandb's own client. The proxy does not exist, so that using it would fail."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    transport = Transport(Login(server.url, API_KEY, ENTITY, "digits"), replace(BACKOFF, total_s=0.0))
    assert transport.call("Viewer", "query Viewer { viewer { id } }", {}).data["viewer"]["entity"] == ENTITY


def test_a_password_in_the_address_is_dropped(server: WandbServer, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url.replace("://", "://me:secret@") + "/")
    assert read_login().base_url == server.url


@pytest.mark.parametrize(
    ("header", "pause"),
    [("3", 3.0), ("-1", 0.0), ("nan", None), ("inf", 3600.0), ("soon", None), ("", None), (None, None)],
)
def test_retry_after(header: str | None, pause: float | None) -> None:
    assert parse_retry_after(header) == pause


def test_retry_after_as_a_date() -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert math.isclose(parse_retry_after(date) or 0.0, 30.0, abs_tol=2.0)


def test_the_error_of_a_redirect_hides_secrets(server: WandbServer) -> None:
    server.fail("Viewer", status=301, headers={"Location": "https://me:secret@new.example/base?token=secret"})
    with pytest.raises(WandbError, match=r"moved to https://new\.example/base; set WANDB_BASE_URL") as caught:
        Transport(Login(server.url, API_KEY), QUICK).call("Viewer", "query Viewer { viewer { id } }", {})
    assert "secret" not in str(caught.value)


def test_an_operation_that_is_not_implemented_is_not_retried(server: WandbServer) -> None:
    fault = server.fail("Viewer", status=501, times=10)
    with pytest.raises(WandbError, match="501"):
        Transport(Login(server.url, API_KEY), QUICK).call("Viewer", "query Viewer { viewer { id } }", {})
    assert fault.met == 1


def test_a_configuration_from_a_server() -> None:
    text = yaml.safe_dump(
        {
            "method": "bayes",
            "metric": {"name": "loss", "goal": "minimize", "target": None},
            "early_terminate": None,
            "parameters": {"lr": {"distribution": "uniform", "min": 0.1, "max": 1.0}, "a": {"value": None}},
            "program": None,
            "serverSide": {"of": "its own"},
        }
    )
    spec = convert_hosted_config(yaml.safe_load(text))
    assert (spec.method, sorted(spec.parameters), spec.parameters["a"].value) == ("bayes", ["a", "lr"], None)


def test_a_hosted_sweep_starts_in_the_accounts_default_project(
    server: WandbServer, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_ENTITY", "WANDB_PROJECT"):
        monkeypatch.delenv(name)
    created = []
    wandb = SimpleNamespace(sweep=lambda config, **place: created.append(place) or "s1", Error=RuntimeError)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.warns(UserWarning, match="uncategorized"):
        path = start_hosted_sweep(convert_hosted_config({**GRID, "metric": {"name": "loss"}}))
    assert created == [{"entity": ENTITY, "project": "uncategorized"}]
    assert str(path) == f"{ENTITY}/uncategorized/s1"


def test_two_agents_may_find_the_same_pending_run(server: WandbServer, make: Make) -> None:
    """If the server does not say whose it is, each finds it, and one of them gets it."""
    controller = make({**GRID, "metric": {"name": "loss"}})
    server.fail("GetAgentRuns", status=200, times=10_000, reply=make_refusal("unknown"))
    server.fail("Heartbeat", drop=True, times=2)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(controller.ask, "ab")
    assert first is not None
    assert second is not None
    assert first.number != second.number
    for trial in (first, second):
        controller.report(trial, 0, {"loss": 0.1})
        controller.complete(trial, Outcome.finished())
    run_all(controller)
    assert {run.state for run in server.list_runs(controller.sweep_id)} == {"finished"}
    assert len(server.list_runs(controller.sweep_id)) == len(controller.trials()) == 3
