"""Signals, really sent to agents that are processes of their own, with their trials inside or beside them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wandbsweep import create_sweep, load_sweep
from wandbsweep.agent.signals import SignalWatch

AGENT = Path(__file__).parents[1] / "apps" / "agent"
TIMEOUT_S = 60

pytestmark = pytest.mark.filterwarnings("error")
both = pytest.mark.parametrize("isolation", ["none", "process"])


class Agent:
    """An agent at work."""

    def __init__(self, sweep: Path, **said: object) -> None:
        self.sweep = sweep
        command = [sys.executable, str(AGENT / "agent.py"), json.dumps({"sweep": str(sweep), **said})]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.trial_pid = int(self.line().removeprefix("running "))

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, signum: int, *, to_all: bool = False) -> None:
        """``to_all``: as SLURM does, every process of the step at once."""
        os.kill(self.process.pid, signum)
        if to_all and self.trial_pid != self.process.pid:
            os.kill(self.trial_pid, signum)

    def ended(self) -> tuple[int, list[str]]:
        """Its exit status, and what it and its trials still said."""
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out.split()

    def states(self) -> list[tuple[str, str]]:
        controller = create_sweep(load_sweep(json.loads((self.sweep / "config.json").read_text())), self.sweep)
        found = [(trial.state, trial.reason) for trial in controller.trials()]
        controller.close()
        return found


@pytest.fixture
def start(tmp_path):
    agents = []

    def start(**said):
        sys.path.insert(0, str(AGENT))
        try:
            from agent import CONFIG
        finally:
            sys.path.remove(str(AGENT))
        (tmp_path / "sweep").mkdir(exist_ok=True)
        (tmp_path / "sweep" / "config.json").write_text(json.dumps(CONFIG))
        agents.append(Agent(tmp_path / "sweep", **said))
        return agents[-1]

    yield start
    for agent in agents:
        agent.process.kill()
        agent.process.wait()
        agent.process.stdout.close()


@both
@pytest.mark.parametrize("act", ["report", "listen", "fail"])
@pytest.mark.parametrize("to_all", [False, True])
def test_on_submitits_signal_the_trial_is_given_back_and_the_job_requeues(start, isolation, act, to_all):
    agent = start(isolation=isolation, act=act, submitit=True)
    agent.send(signal.SIGUSR2, to_all=to_all)
    status, said = agent.ended()
    assert (status, said) == (255, ["requeued"] if act == "fail" else ["saved", "requeued"])
    assert agent.states() == [("queued", "the agent was interrupted (SIGUSR2)")]


@both
def test_on_term_the_agent_does_not_return_into_submitit(start, isolation):
    agent = start(isolation=isolation, act="listen", submitit=True)
    agent.send(signal.SIGTERM, to_all=True)
    assert agent.ended() == (143, ["saved", "bypassed"])
    assert agent.states() == [("queued", "the agent was interrupted (SIGTERM)")]


@both
def test_on_term_without_submitit_it_dies_of_it(start, isolation):
    agent = start(isolation=isolation, act="report")
    agent.send(signal.SIGTERM)
    assert agent.ended() == (-signal.SIGTERM, ["saved"])
    assert agent.states() == [("queued", "the agent was interrupted (SIGTERM)")]


@both
def test_ctrl_c_waits_for_a_training_that_listens(start, isolation):
    agent = start(isolation=isolation, act="listen")
    agent.send(signal.SIGINT)
    assert agent.ended() == (-signal.SIGINT, ["saved"])
    assert agent.states() == [("queued", "the agent was interrupted (KeyboardInterrupt)")]


@both
def test_ctrl_c_interrupts_a_training_that_does_not(start, isolation):
    agent = start(isolation=isolation, act="sleep")
    agent.send(signal.SIGINT)
    assert agent.ended() == (-signal.SIGINT, [])
    assert agent.states() == [("queued", "the agent was interrupted (KeyboardInterrupt)")]


@both
@pytest.mark.parametrize("signum", [signal.SIGUSR2, signal.SIGTERM])
def test_a_task_that_does_not_heed_is_ended_after_the_grace(start, isolation, signum):
    agent = start(isolation=isolation, act="sleep", submitit=True, grace_s=0.3)
    agent.send(signum, to_all=True)
    status, said = agent.ended()
    assert status == (255 if signum == signal.SIGUSR2 and isolation == "process" else 128 + signum)
    assert said == (["requeued"] if signum == signal.SIGUSR2 else ["bypassed"])
    ((state, reason),) = agent.states()
    assert state == "queued"
    assert reason.startswith(f"the agent was interrupted ({signal.Signals(signum).name})")


@both
def test_a_training_that_ends_before_it_is_told_is_finished(start, isolation):
    agent = start(isolation=isolation, act="listen and finish", submitit=True)
    agent.send(signal.SIGUSR2, to_all=True)
    assert agent.ended() == (255, ["saved", "requeued"])
    assert agent.states() == [("finished", "")]


@both
def test_a_term_during_the_requeueing_does_not_break_it(start, isolation):
    agent = start(isolation=isolation, act="listen", submitit=True, slow=True)
    agent.send(signal.SIGUSR2, to_all=True)
    assert agent.ended() == (255, ["saved", "requeued"])
    assert [state for state, _ in agent.states()] == ["queued"]


@both
def test_signals_one_after_another_are_as_the_first(start, isolation):
    agent = start(isolation=isolation, act="listen", submitit=True)
    for signum in (signal.SIGCONT, signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR2):
        agent.send(signum, to_all=True)
    status, said = agent.ended()
    assert said[0] == "saved"
    assert (status, said[1:]) in [(255, ["requeued"]), (143, ["bypassed"])]  # which of them comes first is the kernel's
    assert [state for state, _ in agent.states()] == ["queued"]


def test_handlers_are_given_back():
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)]
    watch = SignalWatch()
    with watch.watching():
        signal.raise_signal(signal.SIGTERM)
        assert watch.received == signal.SIGTERM
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)] == before
