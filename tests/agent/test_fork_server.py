"""Trials in processes that a fork server starts, and every way in which those can die."""

import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.agent.acts import Broken, Make, UsesGpu
from tests.configurations import RANDOM
from wandbsweep import Decision, create_sweep, current_trial, load_sweep
from wandbsweep.agent.fork_server import ForkServer, ProcessState, TrialProcess
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.memory import KernelKills

CONFIG = RANDOM | {"run_cap": 3}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Agent:
    """An agent with a fork server, and the controller that it asks."""

    def __init__(self, task, config=CONFIG, **options):
        self.watch = SignalWatch()
        self.controller = create_sweep(load_sweep(config), seed=0)
        self.crashes = []
        self.controller.crash = self.crash
        self.server = ForkServer(task, watch=self.watch, **{"poll_s": 0.05, **options})

    def crash(self, trial, reason, *, killed=False):
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
def make_agent():
    agents = []

    def make(act, **options):
        task = pickle.dumps(Make(act) if isinstance(act, str) else act)
        agents.append(Agent(task, **options))
        return agents[-1]

    yield make
    for agent in agents:
        agent.server.close()


def test_each_trial_is_a_process_of_one_fork_server(make_agent, tmp_path, monkeypatch):
    agent = make_agent("describe_process")
    monkeypatch.setenv("MARK", "set later")
    monkeypatch.chdir(tmp_path)
    seen = [result.payload for result in agent.run(3)]
    assert len({child["pid"] for child in seen} | {os.getpid()}) == 4
    assert {child["parent"] for child in seen} == {agent.server._server.pid}
    assert {(child["cwd"], child["mark"]) for child in seen} == {(str(tmp_path), "set later")}
    params = [dict(trial.params) for trial in agent.controller.trials()]
    assert [child["current"] for child in seen] == [(n, params[n], "loss") for n in range(3)]
    assert agent.states == ["finished"] * 3
    assert [trial.value for trial in agent.controller.trials()] == [1.0] * 3
    assert not current_trial()


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("segfault", "its process was killed by SIGSEGV"),
        ("kill", "its process was killed by SIGKILL (out of memory?)"),
        ("exit_3", "its process exited with status 3 before its task returned"),
        ("exit_0", "its process exited with status 0 before its task returned"),
    ],
)
def test_a_death_is_a_crash_with_its_reason(make_agent, act, reason):
    agent = make_agent(act)
    agent.run(2)
    assert agent.crashes == [(0, reason)] * 2  # the trial was given out again
    assert agent.states == ["queued"]


def test_the_reason_of_a_crash_ends_with_the_last_line_of_the_log(make_agent, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    agent = make_agent("log_and_die", find_log=lambda trial: tmp_path / "log")
    agent.run()
    ((_, reason),) = agent.crashes
    assert reason.endswith("status 1 before its task returned; its log ends: CUDA error: device-side assert")
    assert "  first\n  CUDA error" in caplog.text


def test_what_the_task_raises_is_a_failure(make_agent):
    agent = make_agent("fail")
    agent.run(3)
    trials = agent.controller.trials()
    assert [(trial.state, trial.reason.partition(" (")[0]) for trial in trials] == [
        ("failed", "ValueError: no luck"),
        ("failed", "out of memory: MemoryError: too large"),
        ("failed", "the task exited with status 4"),
    ]
    assert agent.crashes == []


def test_a_trial_that_exceeds_a_limit_of_its_process_ran_out_of_memory(make_agent):
    agent = make_agent("exceed_limit")
    agent.run(1)
    (trial,) = agent.controller.trials()
    assert (trial.state, trial.cause, agent.crashes) == ("failed", "out of memory", [])
    assert re.match(
        r"out of memory: MemoryError \(acts.py:\d+, in <listcomp>|exceed_limit\); peak memory", trial.reason
    )


@pytest.fixture
def memory_group():
    """A control group of 60 MiB, in which this user's processes may be; skipped where there is none."""
    kills = KernelKills()
    parent = kills._source.parent if kills._source else Path("/nonexistent")
    group = parent / f"wandbsweep-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of memory can be made here: {error}")
    try:
        names = [name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists()]
        if not names:
            pytest.skip("control groups made here do not limit memory")
        (group / names[0]).write_text(str(60 * 2**20))
        yield group
    finally:
        group.rmdir()


def test_a_trial_that_the_kernel_kills_for_its_memory_has_failed(make_agent, memory_group, monkeypatch):
    """Really killed. The count is that of the group in which the process is, as in a SLURM job."""
    monkeypatch.setenv("GROUP", str(memory_group))
    source = next(
        memory_group / name for name in ("memory.oom_control", "memory.events") if (memory_group / name).exists()
    )
    monkeypatch.setattr("wandbsweep.memory._find_source", lambda proc, mounts: (source, 60.0))
    agent = make_agent("enter_group_and_exceed")
    (result,) = agent.run(1)
    (trial,) = agent.controller.trials()
    assert (trial.state, trial.cause, trial.attempts, agent.crashes) == ("failed", "out of memory", 1, [])
    assert trial.reason.startswith(
        "out of memory (the kernel killed a process at a limit of 60 MiB): its process was killed by SIGKILL"
    )
    assert 20 < trial.metrics["memory/host_peak_mib"] < 100
    assert not result.crashed


def test_a_task_that_cannot_be_loaded_fails_its_trials(make_agent, capfd):
    agent = make_agent(Broken())
    agent.run(3)
    reasons = [trial.reason for trial in agent.controller.trials()]
    assert reasons == ["ImportError: no module named nonesuch"] * 3


def test_trials_of_a_task_whose_import_uses_the_gpu_are_not_forked_from_it(make_agent, caplog):
    agent = make_agent(UsesGpu())
    first, second = (result.payload for result in agent.run(2))
    assert first["pid"] != second["pid"]
    assert agent.states == ["finished"] * 2
    assert caplog.text.count("because importing the task uses the GPU") == 1


def test_a_fork_server_that_dies_is_started_again(make_agent):
    agent = make_agent("kill_fork_server")
    agent.run(2)
    assert agent.crashes == [(0, "the fork server, which starts the trials, was killed by SIGKILL (out of memory?)")]
    assert agent.states == ["finished"]


def test_a_stop_reaches_the_trial(make_agent):
    agent = make_agent("obey")
    agent.controller.report = lambda trial, step, metrics: Decision(step == 5, "bad" if step == 5 else "")
    agent.run()
    assert [(trial.state, trial.reason) for trial in agent.controller.trials()] == [("stopped", "bad")]


def test_an_error_of_the_controller_is_raised_by_the_agent(make_agent):
    agent = make_agent("obey")

    def gone(*_):
        raise ConnectionError("the database is gone")

    agent.controller.report = gone
    with pytest.raises(ConnectionError, match="the database is gone"):
        agent.run()
    assert agent.states == ["queued"]
    assert not has_children(agent.server._server.pid)


def has_children(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return any(is_alive(child) for child in children.read_text().split())


@pytest.mark.parametrize(("owned", "saved", "state"), [(True, True, "stopped"), (False, False, "running")])
def test_a_silent_trial_that_is_cancelled_or_lost_is_ended(make_agent, tmp_path, monkeypatch, owned, saved, state):
    monkeypatch.setenv("PLACE", str(tmp_path))
    agent = make_agent("save_when_asked")
    agent.controller.owns = lambda trial: owned
    agent.controller.check = lambda trial: Decision(True, "enough") if (tmp_path / "begun").exists() else Decision()
    (result,) = agent.run()
    assert result.lost == (not owned)
    assert (tmp_path / "saved").exists() == saved
    assert agent.states == [state]  # a lost trial is left to its new owner


def test_a_report_of_a_lost_trial_is_not_answered(make_agent, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    agent = make_agent("report_and_continue")
    agent.controller.owns = lambda trial: False
    agent.controller.report = lambda *_: Decision(True, "another agent has the trial")
    assert [result.lost for result in agent.run()] == [True]
    assert list(tmp_path.iterdir()) == []


def test_dataloaders_have_workers(make_agent):
    agent = make_agent("load_with_workers")
    assert agent.run()[0].payload == list(range(8))


def test_trials_do_not_share_their_random_numbers(make_agent):
    payloads = [result.payload for result in make_agent("draw_numbers").run(3)]
    assert len({number for payload in payloads for number in payload}) == 6


def test_a_large_result(make_agent):
    assert len(make_agent("return_much").run()[0].payload) == 5_000_000


def test_a_trials_process_ends_as_any_does(make_agent, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    make_agent("exit_properly").run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exited", "joined"]


def test_threads_of_a_trial_may_report(make_agent):
    agent = make_agent("report_from_threads")
    agent.run()
    assert len(agent.controller.trials()[0].reports) == 80


def test_what_a_trial_imports_stays_in_it(make_agent):
    assert [result.payload for result in make_agent("import_a_module").run(3)] == [False] * 3


def test_what_a_trial_imports_is_not_its_work(make_agent, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    agent = make_agent("import_slowly")
    agent.run()
    (trial,) = agent.controller.trials()
    assert trial.ended - trial.started > 0.5
    assert 0.05 <= trial.duration_s < 0.5


def test_an_agent_may_run_in_a_thread(make_agent):
    results = []

    def work():
        results.extend(make_agent("describe_process").run(3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [result.returned for result in results] == [0.5] * 3


def test_an_agent_keeps_no_memory_and_no_descriptors_of_its_trials(make_agent):
    agent = make_agent("describe_process", config={**CONFIG, "run_cap": 200})
    agent.run(10)
    memory, descriptors = read_resident_bytes(), len(os.listdir("/proc/self/fd"))
    agent.run(40)
    assert read_resident_bytes() - memory < 2_000_000
    assert len(os.listdir("/proc/self/fd")) == descriptors


def read_resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_with_a_killed_agent_its_fork_server_and_trial_die(tmp_path):
    options = {"sweep": str(tmp_path / "sweep"), "isolation": "process", "act": "sleep"}
    command = [sys.executable, "-m", "tests.apps.agent.agent", json.dumps(options)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as agent:
        trial = int(agent.stdout.readline().removeprefix("running "))
        server = int(Path(f"/proc/{trial}/stat").read_text().rpartition(")")[2].split()[1])
        assert server != agent.pid
        agent.kill()
        agent.wait()
        # The pipe ends when all processes that hold it have ended: the fork server and the trial.
        assert agent.stdout.read() == ""
    deadline = time.monotonic() + 20
    while any(is_alive(pid) for pid in (trial, server)):  # processes close the pipe before they are gone
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_fork_server_imports_nothing_heavy_before_the_task():
    program = "import sys, wandbsweep.agent.child, wandbsweep.agent.fork_server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "hydra", "optuna"} & set(done.stdout.split())


def test_a_process_never_returns_to_an_earlier_state():
    process = TrialProcess(trial=None, server=None, channel=None)
    process.advance(ProcessState.LOST)
    process.advance(ProcessState.RUNNING)  # its Ready was still on the way
    assert process.state == ProcessState.LOST
