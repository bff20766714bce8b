"""Reports from processes that a trial's training starts, by any means."""

import os
import pickle

import pytest

from tests.agent import descendants
from tests.configurations import RANDOM
from wandbsweep import Decision, create_sweep, load_sweep
from wandbsweep.agent.fork_server import ForkServer
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.controllers.embedded.controller import EmbeddedController

both = pytest.mark.parametrize("isolation", ["none", "process"])
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


@pytest.fixture
def isolation():
    return "process"


@pytest.fixture
def run(isolation, monkeypatch):
    """Run trials of an act; return the controller and the trials' payloads."""
    monkeypatch.delenv("RANK", raising=False)
    watch, servers = SignalWatch(), []

    def run(act, count=1, report=None):
        controller = create_sweep(load_sweep(RANDOM | {"run_cap": count}), seed=0)
        if report:
            controller.report = lambda *arguments: (
                report(*arguments) or EmbeddedController.report(controller, *arguments)
            )
        run_job = getattr(descendants, act)
        separate = isolation == "process"
        if separate:
            run_job = ForkServer(pickle.dumps(descendants.Make(act)), watch=watch)
            servers.append(run_job)
        agent = run_agent(controller, run_job, name="a", sweep_id="s", metric="loss", watch=watch, separate=separate)
        results = list(agent)
        assert [(result.error, result.crashed) for result in results] == [("", "")] * count
        return controller, [result.payload for result in results]

    yield run
    for server in servers:
        server.close()


@both
def test_a_process_reports_however_it_was_started(run):
    controller, payloads = run("report_by_all_means", 2)
    for trial, (own, last_step, seen) in zip(controller.trials(), payloads, strict=True):
        steps = len(seen) + 1
        assert trial.reports == {**{step: 1.0 + step for step in range(steps - 1)}, steps - 1: 0.5}
        assert last_step == steps - 1
        pids = [pid for *_, pid in seen.values()]
        assert own not in pids
        assert len({*pids}) == len(pids)
        for number, params, metric, stop, _ in seen.values():
            assert (number, params, metric, stop) == (trial.number, trial.params, "loss", False)


@both
def test_rank_0_counts_and_all_ranks_stop_after_the_same_step(run):
    def stop_at_5(trial, step, metrics):
        return Decision(True, "bad") if step == 5 else None

    controller, payloads = run("report_as_ranks", report=stop_at_5)
    assert payloads == [[[0, 5], [1, 5]]]
    (trial,) = controller.trials()
    assert (trial.state, trial.reason, trial.history) == ("stopped", "bad", [0.0, 1.0, 2.0, 3.0, 4.0])


def test_rank_0_counts_of_what_torch_spawns(run):
    controller, _ = run("report_by_torch")
    assert controller.trials()[0].history == [0.0, 1.0, 2.0]


@both
def test_a_process_that_outlives_its_trial_reports_to_nobody(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    controller, payloads = run("outlive", 2)
    assert payloads == [None, "the trial is over; 0 the trial is over\n"]
    assert [trial.history for trial in controller.trials()] == [[0.0], [2.0]]


@both
def test_a_fork_needs_no_environment_and_a_program_does(run):
    controller, payloads = run("clear_environment")
    assert payloads == ["False"]
    assert controller.trials()[0].history == [1.0]


def test_lightning_reports_and_stops_from_its_processes(run):
    def stop_second_trial(trial, step, metrics):
        return Decision(True, "bad") if trial.number == 1 else None

    controller, payloads = run("FitOnForks", 2, report=stop_second_trial)
    first, second = controller.trials()
    assert payloads == [[[[0, 2], [1, 2]], ["loss", "tested"]], [[[0, 1], [1, 1]], ["loss", "tested"]]]
    assert (first.reports, first.metrics) == ({0: 0.0, 1: 1.0}, {"loss": 1.0, "tested": 7.0})
    assert (second.state, second.reason) == ("stopped", "bad")


@both
def test_nothing_stays_open(run):
    run("clear_environment")
    before = len(os.listdir("/proc/self/fd"))
    run("clear_environment")
    assert len(os.listdir("/proc/self/fd")) <= before + 8  # the second fork server's, if there is one
