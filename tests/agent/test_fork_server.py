"""Trials in processes forked from a warm parent, and every way in which those can die."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.configurations import RANDOM
from wandbsweep import Decision, create_sweep, current_trial, load_sweep
from wandbsweep.agent.fork_server import ForkServer
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.trial import JobResult

CONFIG = RANDOM | {"run_cap": 3}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Make:
    """What a warm parent loads: makes the function of the given name what runs a trial."""

    def __init__(self, act):
        self.act = act

    def __call__(self):
        return globals()[self.act]


class Broken:
    def __reduce__(self):
        return exec, ("raise ImportError('no module named nonesuch')",)


class Warmed:
    """An agent with a warm parent, and the controller that it asks."""

    def __init__(self, task, config=CONFIG, **options):
        self.watch = SignalWatch()
        self.controller = create_sweep(load_sweep(config), seed=0)
        self.crashes = []
        self.controller.crash = self.crash
        self.server = ForkServer(task, watch=self.watch, **{"poll_s": 0.05, **options})

    def crash(self, trial, reason):
        self.crashes.append((trial.number, reason))
        self.controller.release(trial, reason)

    def run(self, count=1):
        agent = run_agent(
            self.controller,
            self.server,
            name="a",
            sweep_id="s",
            metric="loss",
            count=count,
            watch=self.watch,
            separate=True,
        )
        return list(agent)

    @property
    def states(self):
        return [trial.state for trial in self.controller.trials()]


@pytest.fixture
def warmed():
    made = []

    def warmed(act, **options):
        task = pickle.dumps(Make(act) if isinstance(act, str) else act)
        made.append(Warmed(task, **options))
        return made[-1]

    yield warmed
    for agent in made:
        agent.server.close()


def tell(trial):
    now = current_trial()
    now.report(0, {"loss": 1.0})
    place = {"pid": os.getpid(), "parent": os.getppid(), "cwd": os.getcwd(), "mark": os.environ.get("MARK")}
    return JobResult(returned=0.5, payload={**place, "current": (now.number, dict(now.params), now.metric)})


def test_each_trial_is_a_process_of_one_parent(warmed, tmp_path, monkeypatch):
    agent = warmed("tell")
    monkeypatch.setenv("MARK", "set after the parent was started")
    monkeypatch.chdir(tmp_path)
    seen = [result.payload for result in agent.run(3)]
    assert len({child["pid"] for child in seen} | {os.getpid()}) == 4
    assert {child["parent"] for child in seen} == {agent.server._server.pid}
    assert {(child["cwd"], child["mark"]) for child in seen} == {(str(tmp_path), "set after the parent was started")}
    params = [dict(trial.params) for trial in agent.controller.trials()]
    assert [child["current"] for child in seen] == [(n, params[n], "loss") for n in range(3)]
    assert agent.states == ["finished"] * 3
    assert [trial.value for trial in agent.controller.trials()] == [1.0] * 3
    assert not current_trial()


def segfault(trial):
    os.kill(os.getpid(), signal.SIGSEGV)


def kill(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def exit_3(trial):
    os._exit(3)


def exit_0(trial):
    os._exit(0)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("segfault", "its process was killed by SIGSEGV"),
        ("kill", "its process was killed by SIGKILL (out of memory?)"),
        ("exit_3", "its process exited with status 3 before its task returned"),
        ("exit_0", "its process exited with status 0 before its task returned"),
    ],
)
def test_a_death_is_a_crash_with_its_reason(warmed, act, said):
    agent = warmed(act)
    agent.run(2)
    assert agent.crashes == [(0, said)] * 2  # it was given out again
    assert agent.states == ["queued"]


def log_and_die(trial):
    Path(os.environ["LOG"]).write_text("first\nCUDA error: device-side assert\n")
    os._exit(1)


def test_a_crash_tells_the_end_of_the_log(warmed, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    agent = warmed("log_and_die", find_log=lambda trial: tmp_path / "log")
    agent.run()
    ((_, reason),) = agent.crashes
    assert reason.endswith("status 1 before its task returned; its log ends: CUDA error: device-side assert")
    assert "  first\n  CUDA error" in caplog.text


def fail(trial):
    raise [ValueError("no\nluck"), MemoryError("too large"), SystemExit(4)][trial.number]


def test_what_the_task_raises_is_a_failure(warmed):
    agent = warmed("fail")
    agent.run(3)
    assert [(trial.state, trial.reason) for trial in agent.controller.trials()] == [
        ("failed", "ValueError: no luck"),
        ("failed", "MemoryError: too large"),
        ("failed", "the task exited with status 4"),
    ]
    assert agent.crashes == []


def test_a_task_that_cannot_be_loaded_fails_its_trials(warmed, capfd):
    agent = warmed(Broken())
    agent.run(3)
    reasons = [trial.reason for trial in agent.controller.trials()]
    assert reasons == ["ImportError: no module named nonesuch"] * 3


class UsesGpu:
    """Stands in for a module-level ``torch.zeros(1).cuda()``."""

    def __call__(self):
        import types

        sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
        return tell


def test_a_task_whose_import_uses_the_gpu_is_refused(warmed):
    agent = warmed(UsesGpu())
    agent.run()
    (trial,) = agent.controller.trials()
    assert trial.state == "failed"
    assert "hydra.sweeper.isolation=none" in trial.reason


def kill_parent(trial):
    if not current_trial().resumed:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return JobResult(returned=1.0)


def test_a_parent_that_dies_is_started_again(warmed):
    agent = warmed("kill_parent")
    agent.run(2)
    assert agent.crashes == [(0, "the fork server, which starts the trials, was killed by SIGKILL (out of memory?)")]
    assert agent.states == ["finished"]


def obey(trial):
    for step in range(100):
        if current_trial().report(step, {"loss": 1.0}).stop:
            return JobResult()
    return JobResult(error="never stopped")


def test_a_stop_reaches_the_trial(warmed):
    agent = warmed("obey")
    agent.controller.report = lambda trial, step, metrics: Decision(step == 5, "bad" if step == 5 else "")
    agent.run()
    assert [(trial.state, trial.reason) for trial in agent.controller.trials()] == [("stopped", "bad")]


def test_what_the_controller_raises_is_the_agents(warmed):
    agent = warmed("obey")

    def gone(*_):
        raise ConnectionError("the database is gone")

    agent.controller.report = gone
    with pytest.raises(ConnectionError, match="the database is gone"):
        agent.run()
    assert agent.states == ["queued"]
    assert no_children_of(agent.server._server.pid)


def no_children_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return not any(lives(child) for child in children.read_text().split())


def spoil(trial):
    """As a zombie would: says when it has begun, and writes when it is asked to end."""
    place = Path(os.environ["PLACE"])
    now = current_trial()
    now.listening = True
    (place / "begun").touch()
    while not now.preempted:
        time.sleep(0.01)
    (place / "saved").touch()
    return JobResult()


@pytest.mark.parametrize(("owned", "saved", "state"), [(True, True, "stopped"), (False, False, "running")])
def test_a_silent_trial_that_is_cancelled_or_lost_is_ended(warmed, tmp_path, monkeypatch, owned, saved, state):
    monkeypatch.setenv("PLACE", str(tmp_path))
    agent = warmed("spoil")
    agent.controller.owns = lambda trial: owned
    agent.controller.check = lambda trial: Decision(True, "enough") if (tmp_path / "begun").exists() else Decision()
    (result,) = agent.run()
    assert result.lost == (not owned)
    assert (tmp_path / "saved").exists() == saved
    assert agent.states == [state]  # of a lost one nobody here says anything any more


def lose(trial):
    current_trial().report(0, {"loss": 0.0})
    Path(os.environ["PLACE"], "went on").touch()


def test_a_trial_that_learns_by_a_report_that_it_is_lost_never_hears_of_it(warmed, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    agent = warmed("lose")
    agent.controller.owns = lambda trial: False
    agent.controller.report = lambda *_: Decision(True, "another agent has the trial")
    assert [result.lost for result in agent.run()] == [True]
    assert list(tmp_path.iterdir()) == []


def load_with_workers(trial):
    from torch.utils.data import DataLoader

    batches = list(DataLoader(list(range(8)), batch_size=2, num_workers=2))
    return JobResult(returned=float(len(batches)), payload=sorted(int(n) for batch in batches for n in batch))


def test_dataloaders_have_workers(warmed):
    agent = warmed("load_with_workers")
    assert agent.run()[0].payload == list(range(8))


def draw(trial):
    import random

    return JobResult(returned=0.0, payload=(random.random(), np.random.rand()))


def test_trials_do_not_share_their_random_numbers(warmed):
    payloads = [result.payload for result in warmed("draw").run(3)]
    assert len({number for payload in payloads for number in payload}) == 6


def say_much(trial):
    return JobResult(returned=0.0, payload=b"x" * 5_000_000)


def test_a_large_result(warmed):
    assert len(warmed("say_much").run()[0].payload) == 5_000_000


def exit_properly(trial):
    import atexit

    place = Path(os.environ["PLACE"])
    atexit.register((place / "exited").touch)
    threading.Thread(target=lambda: (time.sleep(0.05), (place / "joined").touch())).start()
    return JobResult(returned=0.0)


def test_a_trials_process_ends_as_any_does(warmed, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    warmed("exit_properly").run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exited", "joined"]


def report_from_threads(trial):
    def report(offset):
        for step in range(20):
            current_trial().report(20 * offset + step, {"loss": 1.0})

    threads = [threading.Thread(target=report, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return JobResult()


def test_threads_of_a_trial_may_report(warmed):
    agent = warmed("report_from_threads")
    agent.run()
    assert len(agent.controller.trials()[0].reports) == 80


def need_a_module(trial):
    already = "colorsys" in sys.modules
    import colorsys  # noqa: F401

    return JobResult(returned=0.0, payload=already)


def test_the_parent_learns_what_to_import(warmed):
    assert [result.payload for result in warmed("need_a_module").run(3)] == [False, True, True]


def test_an_agent_in_a_thread(warmed):
    results = []

    def work():
        results.extend(warmed("tell").run(3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results) == 3


def test_memory_stays_flat(warmed):
    agent = warmed("tell", config={**CONFIG, "run_cap": 200})
    agent.run(20)
    before = resident()
    agent.run(100)
    assert resident() - before < 4_000_000
    assert len(os.listdir("/proc/self/fd")) < 100


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_with_a_killed_agent_its_trial_and_the_parent_die(tmp_path):
    said = {"sweep": str(tmp_path / "sweep"), "isolation": "process", "act": "sleep"}
    command = [sys.executable, str(Path(__file__).parents[1] / "apps/agent/agent.py"), json.dumps(said)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        trial = int(agent.stdout.readline().removeprefix("running "))
        parent = int(Path(f"/proc/{trial}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent != agent.pid
        agent.kill()
        agent.wait()
        # The pipe ends when all that hold it have: the parent and the trial.
        assert agent.stdout.read() == ""
    deadline = time.monotonic() + 20
    while any(lives(pid) for pid in (trial, parent)):  # they close the pipe first
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_heavy_in_the_parent_before_the_task():
    program = "import sys, wandbsweep.agent.child, wandbsweep.agent.fork_server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "hydra", "optuna"} & set(done.stdout.split())
