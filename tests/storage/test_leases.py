"""Leases: who is taken for dead, and who takes over."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.storage.leases import FileLeases, Watch

LEASE_S = 0.6
FORK = multiprocessing.get_context("fork")
SPEC = load_sweep(RANDOM | {"run_cap": 2})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Beats:
    """Leases that a test writes."""

    def __init__(self):
        self.beat = 0
        self.broken = False

    def beats(self, owners):
        if self.broken:
            raise OSError("the store is away")
        return dict.fromkeys(owners, self.beat)


@pytest.fixture
def watched():
    beats, clock = Beats(), Clock()
    watch = Watch(beats, 60.0, clock=clock)
    watch.look(["a"])

    def after(seconds, *, beat=False):
        clock.now += seconds
        beats.beat += beat
        watch.look(["a"])
        return watch.verdict("a")

    return after, beats, watch, clock


def test_who_is_silent_for_the_lease_s_time_has_lapsed(watched):
    after, *_ = watched
    assert [after(15) for _ in range(4)] == ["unknown", "unknown", "unknown", "lapsed"]


def test_who_beats_is_alive_and_can_still_fall_silent(watched):
    after, *_ = watched
    assert after(50, beat=True) == "alive"
    assert [after(20) for _ in range(3)] == ["alive", "unknown", "lapsed"]
    assert after(1, beat=True) == "alive"


def test_a_judge_that_was_suspended_itself_condemns_nobody(watched):
    after, *_ = watched
    assert after(3600) == "unknown"
    assert after(1, beat=True) == "alive"


def test_time_without_the_store_does_not_count(watched):
    after, beats, watch, clock = watched
    after(15)
    beats.broken = True
    for _ in range(10):
        clock.now += 15
        with pytest.raises(OSError, match="away"):
            watch.look(["a"])
    beats.broken = False
    assert [after(15) for _ in range(3)] == ["unknown"] * 3


def test_who_has_no_trial_any_more_is_forgotten(watched):
    after, _, watch, _ = watched
    for _ in range(4):
        after(20)
    assert watch.lapsed == ["a"]
    watch.look([])
    assert watch.lapsed == []


def test_a_lease_can_be_renewed_on_a_full_disk(tmp_path):
    """It is written over in place: nothing is allocated, nothing is truncated."""
    leases = FileLeases(tmp_path)
    leases.renew("a")
    before = (tmp_path / "a").stat()
    leases.renew("a")
    after = (tmp_path / "a").stat()
    assert (before.st_ino, before.st_size, before.st_blocks) == (after.st_ino, after.st_size, after.st_blocks)


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
    ready, told = FORK.Pipe(duplex=False)

    def agent():
        controller = opened()
        trial = controller.ask("elsewhere")
        then(controller, trial)
        told.send(trial.number)
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


def test_a_living_agents_trial_is_left_to_it(opened):
    process = run_elsewhere(opened)
    controller = opened()
    assert controller.ask("here").number == 1
    before = time.monotonic()
    assert controller.ask("here") is None
    assert time.monotonic() - before < 5 * LEASE_S
    assert controller.has_live_agents()
    kill(process)


@pytest.mark.parametrize("opened", ["journal"], indirect=True)  # who is suspended inside SQLite's lock holds up all
def test_a_zombie_changes_nothing(opened):
    """An agent that was suspended, and comes back when its trial is another's."""
    outcome, told = FORK.Pipe(duplex=False)

    def zombie(controller, trial):
        def on_continue(signum, frame):
            stop = controller.report(trial, 5, {"loss": -1.0}).stop
            controller.complete(trial, Outcome.finished(-1.0))
            told.send((stop, controller.owns(trial)))

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


def test_of_many_who_would_take_over_one_does(opened):
    kill(run_elsewhere(opened))
    with ThreadPoolExecutor(8) as pool:
        # Long enough that nobody alive is taken for dead while eight threads share a busy machine.
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


def test_a_trial_given_back_is_not_lost(opened):
    controller = opened(max_attempts=1)
    for attempt in (1, 2, 3):
        trial = controller.ask("here")
        assert (trial.number, trial.attempt) == (0, attempt)
        controller.release(trial, "preempted")


def test_a_crashed_trial_is_tried_again_and_then_no_more(opened):
    controller = opened(max_attempts=2)
    first = controller.ask("here")
    controller.crash(first, "SIGSEGV")
    again = controller.ask("here")
    assert (again.number, again.attempt) == (0, 2)
    controller.crash(again, "SIGSEGV")
    record = controller.trials()[0]
    assert (record.state, record.reason) == ("crashed", "SIGSEGV; attempt 2 of 2")
    assert controller.ask("here").number == 1


def test_an_agent_that_suspects_itself_finds_out(opened):
    """Suspended for long, it asks the store before it shows that it lives."""
    controller, rival = opened(), opened()
    trial = controller.ask("here")
    controller._keeper.close()  # as if suspended
    rival.ask("there")
    assert rival.ask("there").number == trial.number
    assert controller.owns(trial)
    controller._suspect()
    assert not controller.owns(trial)
    assert controller.check(trial).stop


# -- orders -------------------------------------------------------------------------------------------------------


def test_a_paused_sweep_waits_and_goes_on(opened):
    controller, outside = opened(), opened()
    outside.command = "paused"
    assert not controller.ready("here")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(controller.ask, "here")
        time.sleep(0.2)
        assert not asked.done()
        outside.command = "running"
        assert asked.result(10).number == 0


def test_a_stopped_sweep_gives_out_no_more_and_lets_go_on_what_runs(opened):
    controller, outside = opened(), opened()
    trial = controller.ask("here")
    outside.command = "stopped"
    assert "stopped" in controller.completion().reason
    assert controller.ask("here") is None
    assert not controller.report(trial, 0, {"loss": 1.0}).stop


def test_a_cancelled_sweep_stops_what_runs(opened, monkeypatch):
    monkeypatch.setattr("wandbsweep.controllers.embedded.control_requests._AGE_S", 0.0)
    controller, outside = opened(), opened()
    trial = controller.ask("here")
    outside.command = "cancelled"
    assert controller.report(trial, 0, {"loss": 1.0}).reason == "the sweep was cancelled"
    assert controller.ask("here") is None


# -- bad nodes ----------------------------------------------------------------------------------------------------


def test_what_fails_on_a_bad_node_is_given_to_others(tmp_path):
    grid = load_sweep({"method": "grid", "parameters": {"x": {"values": list(range(8))}}})
    controller = create_sweep(grid, tmp_path)
    controller.complete(controller.ask("good"), Outcome.finished())
    doubted = []
    while trial := controller.ask("bad"):
        assert controller.reassign_suspect(trial, "CUDA error")
        doubted.append(trial.number)
    assert doubted == [1, 2, 3]  # and then it asks no more
    rest = []
    while trial := controller.ask("good"):
        controller.complete(trial, Outcome.finished())
        rest.append(trial.number)
    assert sorted(rest) == [1, 2, 3, 4, 5, 6, 7]
    controller.close()


def test_what_fails_on_two_nodes_has_failed(tmp_path):
    controller = create_sweep(SPEC, tmp_path)
    keep = controller.ask("good")
    trial = controller.ask("bad")
    assert controller.reassign_suspect(trial, "no")
    again = controller.ask("other")
    assert again.number == trial.number
    assert not controller.reassign_suspect(again, "no")
    controller.complete(keep, Outcome.finished(1.0))
    controller.close()


def test_alone_there_is_nobody_to_doubt_it_with(tmp_path):
    controller = create_sweep(SPEC, tmp_path)
    assert not controller.reassign_suspect(controller.ask("a"), "broken script")
    controller.close()
