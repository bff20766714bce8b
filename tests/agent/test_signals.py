"""Real signals to agents that are processes, and that run their trials themselves or in further processes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.apps.agent.agent import SPEC
from wandbsweep import create_sweep
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.current import CurrentTrial

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60

pytestmark = pytest.mark.filterwarnings("error")
both = pytest.mark.parametrize("isolation", ["none", "process"])


class Agent:
    """An agent that runs its first trial."""

    def __init__(self, sweep: Path, **options: object) -> None:
        self.sweep = sweep
        command = [sys.executable, "-m", "tests.apps.agent.agent", json.dumps({"sweep": str(sweep), **options})]
        # Unbuffered: what readline() had read ahead would be missing from what communicate() returns.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, start_new_session=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.trial_pid = int(self.process.stdout.readline().decode().removeprefix("running "))

    def send(self, signum: int, *, to_all: bool = False) -> None:
        """``to_all``: as SLURM does, every process of the step at once."""
        os.kill(self.process.pid, signum)
        if to_all and self.trial_pid != self.process.pid:
            os.kill(self.trial_pid, signum)

    def await_end(self) -> tuple[int, list[str]]:
        """Return its exit status, and what it and its trials have printed since."""
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out.decode().split()

    def read_states(self) -> list[tuple[str, str]]:
        with closing(create_sweep(SPEC, self.sweep)) as controller:
            return [(trial.state, trial.reason) for trial in controller.trials()]


@pytest.fixture
def start(tmp_path):
    agents = []

    def start(**options):
        agents.append(Agent(tmp_path / "sweep", **options))
        return agents[-1]

    yield start
    for agent in agents:
        agent.process.kill()
        agent.process.wait()
        agent.process.stdout.close()


@both
@pytest.mark.parametrize("act", ["report", "listen", "fail"])
@pytest.mark.parametrize("to_all", [False, True])
def test_on_submitits_signal_the_trial_is_released_and_the_job_requeues(start, isolation, act, to_all):
    agent = start(isolation=isolation, act=act, submitit=True)
    agent.send(signal.SIGUSR2, to_all=to_all)
    status, printed = agent.await_end()
    assert (status, printed) == (255, ["requeued"] if act == "fail" else ["saved", "requeued"])
    assert agent.read_states() == [("queued", "the agent was interrupted (SIGUSR2)")]


@both
def test_on_term_the_agent_does_not_return_into_submitit(start, isolation):
    agent = start(isolation=isolation, act="listen", submitit=True)
    agent.send(signal.SIGTERM, to_all=True)
    assert agent.await_end() == (143, ["saved", "bypassed"])
    assert agent.read_states() == [("queued", "the agent was interrupted (SIGTERM)")]


@both
def test_on_term_without_submitit_it_dies_of_it(start, isolation):
    agent = start(isolation=isolation, act="report")
    agent.send(signal.SIGTERM)
    assert agent.await_end() == (-signal.SIGTERM, ["saved"])
    assert agent.read_states() == [("queued", "the agent was interrupted (SIGTERM)")]


@both
def test_a_process_that_the_training_has_started_learns_of_the_signal(start, isolation):
    agent = start(isolation=isolation, act="listen in a fork")
    agent.send(signal.SIGTERM)
    assert agent.await_end() == (-signal.SIGTERM, ["saved"])
    assert agent.read_states() == [("queued", "the agent was interrupted (SIGTERM)")]


@both
def test_ctrl_c_waits_for_a_training_that_listens(start, isolation):
    agent = start(isolation=isolation, act="listen")
    agent.send(signal.SIGINT)
    assert agent.await_end() == (-signal.SIGINT, ["saved"])
    assert agent.read_states() == [("queued", "the agent was interrupted (KeyboardInterrupt)")]


@both
def test_ctrl_c_interrupts_a_training_that_does_not_listen(start, isolation):
    agent = start(isolation=isolation, act="sleep")
    agent.send(signal.SIGINT)
    assert agent.await_end() == (-signal.SIGINT, [])
    assert agent.read_states() == [("queued", "the agent was interrupted (KeyboardInterrupt)")]


@both
@pytest.mark.parametrize("signum", [signal.SIGUSR2, signal.SIGTERM])
def test_a_task_that_ignores_the_signal_is_ended_after_the_grace(start, isolation, signum):
    agent = start(isolation=isolation, act="sleep", submitit=True, grace_s=0.3)
    agent.send(signum, to_all=True)
    status, printed = agent.await_end()
    assert status == (255 if signum == signal.SIGUSR2 and isolation == "process" else 128 + signum)
    assert printed == (["requeued"] if signum == signal.SIGUSR2 else ["bypassed"])
    ((state, reason),) = agent.read_states()
    assert state == "queued"
    assert reason.startswith(f"the agent was interrupted ({signal.Signals(signum).name})")


@both
def test_a_training_that_never_learns_of_the_signal_is_finished(start, isolation):
    agent = start(isolation=isolation, act="listen and finish", submitit=True)
    agent.send(signal.SIGUSR2, to_all=True)
    assert agent.await_end() == (255, ["saved", "requeued"])
    assert agent.read_states() == [("finished", "")]


@both
def test_a_term_during_the_requeueing_does_not_break_it(start, isolation):
    agent = start(isolation=isolation, act="listen", submitit=True, slow=True)
    agent.send(signal.SIGUSR2, to_all=True)
    assert agent.await_end() == (255, ["saved", "requeued"])
    assert [state for state, _ in agent.read_states()] == ["queued"]


@both
def test_later_signals_change_nothing(start, isolation):
    agent = start(isolation=isolation, act="listen", submitit=True)
    for signum in (signal.SIGCONT, signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR2):
        agent.send(signum, to_all=True)
    status, printed = agent.await_end()
    assert printed[0] == "saved"
    assert (status, printed[1:]) in [
        (255, ["requeued"]),
        (143, ["bypassed"]),
    ]  # as the kernel orders them
    assert [state for state, _ in agent.read_states()] == ["queued"]


@both
@pytest.mark.parametrize("submitit", [False, True])
@pytest.mark.parametrize(
    ("act", "ended"),
    [
        ("fork", "-15"),
        ("spawn", "-15"),
        ("forkserver", "-15"),
        ("pool", "left"),
        ("other handler", "-15"),
        ("reinstall", "-15"),
        ("hang up", "-1"),
        ("program", "-15"),
        ("leave the task", "7"),
    ],
)
def test_processes_that_a_trial_starts_handle_signals_as_without_a_sweep(start, isolation, submitit, act, ended):
    agent = start(isolation=isolation, act=act, submitit=submitit, grace_s=0.3, count=1)
    assert agent.await_end() == (0, [ended, "done", "returned"])
    assert agent.read_states() == [("finished", "")]


def test_handlers_are_given_back():
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)]
    watch = SignalWatch()
    with watch.watching():
        signal.raise_signal(signal.SIGTERM)
        assert watch.received == signal.SIGTERM
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)] == before


def test_handlers_that_a_training_replaces_can_be_reinstalled():
    watch, trial = SignalWatch(), CurrentTrial(number=0)
    before = signal.getsignal(signal.SIGTERM)
    with watch.watching(), watch.notifying(trial):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Lightning does
        trial.reinstall_handlers()
        signal.raise_signal(signal.SIGTERM)
        assert trial.preempted
    trial.reinstall_handlers()  # too late: the watch is over
    assert signal.getsignal(signal.SIGTERM) == before
