"""Which agents are taken for dead, and who takes their trials over."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.controllers.embedded.lease_expiry import LeaseMonitor

LEASE_S = 0.6
FORK = multiprocessing.get_context("fork")
SPEC = load_sweep(RANDOM | {"run_cap": 2})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class FakeLeases:
    """Leases that a test writes."""

    def __init__(self):
        self.heartbeat = 0
        self.broken = False

    def read_heartbeats(self, owners):
        if self.broken:
            raise OSError("the storage is away")
        return dict.fromkeys(owners, self.heartbeat)


@pytest.fixture
def monitored():
    leases, clock = FakeLeases(), Clock()
    monitor = LeaseMonitor(leases, 60.0, clock=clock)
    monitor.poll(["a"])

    def after(seconds, *, renewed=False):
        clock.now += seconds
        leases.heartbeat += renewed
        monitor.poll(["a"])
        return monitor.judge("a")

    return after, leases, monitor, clock


def test_a_lease_expires_after_its_time_of_silence(monitored):
    after, *_ = monitored
    assert [after(15) for _ in range(4)] == ["unknown", "unknown", "unknown", "expired"]


def test_an_agent_that_renews_its_lease_is_alive_until_it_falls_silent(monitored):
    after, *_ = monitored
    assert after(50, renewed=True) == "alive"
    assert [after(20) for _ in range(3)] == ["alive", "unknown", "expired"]
    assert after(1, renewed=True) == "alive"


def test_a_process_that_was_suspended_itself_expires_no_lease(monitored):
    after, *_ = monitored
    assert after(3600) == "unknown"
    assert after(1, renewed=True) == "alive"


def test_time_without_the_storage_does_not_count(monitored):
    after, leases, monitor, clock = monitored
    after(15)
    leases.broken = True
    for _ in range(10):
        clock.now += 15
        with pytest.raises(OSError, match="away"):
            monitor.poll(["a"])
    leases.broken = False
    assert [after(15) for _ in range(3)] == ["unknown"] * 3


def test_an_agent_without_a_trial_is_forgotten(monitored):
    after, _, monitor, _ = monitored
    for _ in range(4):
        after(20)
    assert monitor.expired == ["a"]
    monitor.poll([])
    assert monitor.expired == []


# -- takeover -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["journal", "sqlite"])
def opened(request, tmp_path):
    """Makes controllers of one sweep, each as its own process would have it."""
    made = []

    def make(*, spec=SPEC, lease_s=LEASE_S, **options):
        url = f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else None
        made.append(create_sweep(spec, tmp_path / "sweep", storage=url, lease_s=lease_s, **options))
        return made[-1]

    yield make
    for controller in made:
        controller.close()


def run_elsewhere(opened, then=lambda controller, trial: None):
    """The pid of another process that asks for a trial, does ``then``, and hangs."""
    ready, sender = FORK.Pipe(duplex=False)

    def agent():
        controller = opened()
        trial = controller.ask("elsewhere")
        then(controller, trial)
        sender.send(trial.number)
        while True:  # not signal.pause(): another thread may be the one that gets a signal
            time.sleep(0.02)

    process = FORK.Process(target=agent)
    process.start()
    assert ready.recv() == 0
    return process


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def reported(controller, trial):
    controller.report(trial, 0, {"loss": 0.5})


def test_a_killed_agents_trial_is_taken_over_with_its_reports(opened):
    kill(run_elsewhere(opened, reported))
    controller = opened()
    first, again = controller.ask("here"), controller.ask("here")
    assert (first.number, first.attempt) == (1, 1)
    assert (again.number, again.attempt) == (0, 2)
    controller.report(again, 1, {"loss": 0.4})
    for trial in (first, again):
        controller.complete(trial, Outcome.finished(1.0))
    assert controller.ask("here") is None
    record = controller.trials()[0]
    assert (record.state, record.attempts, record.history, record.agent) == ("finished", 2, [0.5, 0.4], "here")
    # The time from the last heartbeat until another agent took it over is nobody's work.
    lost_s = record.resumed - record.started
    assert record.duration_s < record.ended - record.started - lost_s + LEASE_S / 2


def test_a_living_agents_trial_is_left_to_it(opened):
    process = run_elsewhere(opened)
    controller = opened()
    assert controller.ask("here").number == 1
    assert controller.ask("here") is None
    assert controller.has_live_agents()
    assert controller.trials()[0].attempts == 1
    kill(process)


@pytest.mark.parametrize("opened", ["journal"], indirect=True)  # who is suspended inside SQLite's lock holds up all
def test_a_zombie_changes_nothing(opened):
    """An agent that was suspended, and comes back when its trial is another's."""
    outcome, sender = FORK.Pipe(duplex=False)

    def zombie(controller, trial):
        def on_continue(signum, frame):
            stop = controller.report(trial, 5, {"loss": -1.0}).stop
            controller.complete(trial, Outcome.finished(-1.0))
            sender.send((stop, controller.owns(trial)))

        signal.signal(signal.SIGUSR1, on_continue)

    process = run_elsewhere(opened, zombie)
    os.kill(process.pid, signal.SIGSTOP)
    controller = opened()
    assert controller.ask("here").number == 1
    again = controller.ask("here")
    assert (again.number, again.attempt) == (0, 2)
    os.kill(process.pid, signal.SIGUSR1)
    os.kill(process.pid, signal.SIGCONT)
    stopped, _ = outcome.recv()
    kill(process)
    assert stopped
    controller.complete(again, Outcome.finished(2.0))
    record = controller.trials()[0]
    assert (record.state, record.value, record.history) == ("finished", 2.0, [])


def test_of_many_agents_one_takes_a_trial_over(opened):
    kill(run_elsewhere(opened))
    with ThreadPoolExecutor(8) as pool:
        # Long enough that no live agent is taken for dead while eight threads share a busy machine.
        controllers = list(pool.map(lambda _: opened(lease_s=3.0), range(8)))
        trials = list(pool.map(lambda c: (c.ask("here"), c.ask("here")), controllers))
    found = sorted((t.number, t.attempt) for pair in trials for t in pair if t)
    assert found == [(0, 2), (1, 1)]


def test_a_trial_that_is_lost_too_often_stays_crashed(opened):
    one = load_sweep(SPEC.dump() | {"run_cap": 1})
    for _ in range(2):
        kill(run_elsewhere(lambda: opened(spec=one, max_attempts=2)))
    controller = opened(spec=one, max_attempts=2)
    assert controller.ask("here") is None
    record = controller.trials()[0]
    assert (record.state, record.attempts) == ("crashed", 2)
    assert "attempt 2 of 2" in record.reason


@pytest.mark.parametrize(
    ("program", "answer", "state"),
    [
        ("sacct", "OUT_OF_MEMORY", "failed"),
        ("scontrol", "JobId=7 JobName=agent JobState=OUT_OF_MEMORY Reason=OutOfMemory", "failed"),
        ("sacct", "NODE_FAIL", "running"),
    ],
)
@pytest.mark.parametrize("opened", ["journal"], indirect=True)
def test_a_trial_whose_job_slurm_ended_for_memory_has_failed(opened, monkeypatch, tmp_path, program, answer, state):
    for name in ("sacct", "scontrol"):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\ncase \"$*\" in *7*) echo '{answer}';; esac\n" if name == program else "exit 1")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    one = load_sweep(SPEC.dump() | {"run_cap": 1})
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SLURM_JOB_ID", "7")
        kill(run_elsewhere(lambda: opened(spec=one)))
    controller = opened(spec=one)
    assert (controller.ask("here") is None) == (state == "failed")
    record = controller.trials()[0]
    assert (record.state, record.cause) == (state, "out of memory" if state == "failed" else "")
    if state == "failed":
        assert record.reason.startswith("out of memory: SLURM ended job 7 at its limit (agent elsewhere was not heard")


def test_an_agent_that_was_silent_finds_out_what_it_lost(opened):
    """It asks the storage before it renews its lease."""
    controller, rival = opened(), opened()
    trial = controller.ask("here")
    controller._leases.close()  # as if suspended
    rival.ask("there")
    assert rival.ask("there").number == trial.number
    assert controller.owns(trial)
    controller._closer.check_open()
    assert not controller.owns(trial)
    assert controller.check(trial).stop
