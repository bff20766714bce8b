"""The agent's loop, on the in-memory controller and as a process that is sent real signals."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from tests.agent.acts import import_slowly
from tests.configurations import RANDOM
from wandbsweep import create_sweep, current_trial, load_sweep
from wandbsweep.agent.loop import run_agent
from wandbsweep.errors import BrokenDeviceError
from wandbsweep.trial import JobResult

CONFIG = RANDOM | {"run_cap": 3}


@pytest.fixture
def controller():
    return create_sweep(load_sweep(CONFIG), seed=0)


def run(controller, job, **options):
    return list(run_agent(controller, job, name="a", sweep_id="s", metric="loss", **options))


def states(controller):
    return [trial.state for trial in controller.trials()]


def succeed(trial):
    return JobResult(returned=0.5, payload=trial.number)


def test_it_runs_trials_until_there_are_no_more(controller):
    assert [result.payload for result in run(controller, succeed)] == [0, 1, 2]
    assert states(controller) == ["finished"] * 3


def test_it_runs_no_more_than_count(controller):
    assert len(run(controller, succeed, count=2)) == 2
    assert len(controller.trials()) == 2


def test_what_a_trial_imports_is_not_its_work(controller, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setattr(sys, "path", sys.path[:])
    run(controller, import_slowly, count=1)
    trial = controller.trials()[0]
    assert trial.ended - trial.started > 0.5
    assert 0.05 <= trial.duration_s < 0.5


def test_the_trial_that_runs_is_the_current_one(controller):
    def job(trial):
        now = current_trial()
        assert (now.number, now.params, now.sweep_id, now.metric) == (trial.number, trial.params, "s", "loss")
        assert now
        assert not now.resumed
        now.report(0, {"loss": 0.25})
        return JobResult()

    run(controller, job)
    assert [trial.value for trial in controller.trials()] == [0.25] * 3
    assert not current_trial()


def test_a_failed_task_is_a_failed_trial_and_the_agent_continues(controller):
    def job(trial):
        if trial.number == 0:
            return JobResult(error="ValueError: no")
        if trial.number == 1:
            raise RuntimeError("CUDA\nerror")
        return succeed(trial)

    results = run(controller, job)
    assert [(t.state, t.reason) for t in controller.trials()] == [
        ("failed", "ValueError: no"),
        ("failed", "RuntimeError: CUDA error"),
        ("finished", ""),
    ]
    assert [bool(result.error) for result in results] == [True, True, False]


class Diverges:
    """A job whose parameters make it fail, and what the controller is asked of it."""

    def __init__(self, controller):
        self.asked = []
        controller.reassign_suspect = lambda trial, reason: self.asked.append(reason) or False

    def __call__(self, trial):
        if trial.number == 0:
            raise MemoryError
        if trial.number == 1:
            current_trial().check_loss(17, math.nan)
        return JobResult(error="ValueError: no")


def test_failures_of_the_parameters_are_tried_once(controller):
    job = Diverges(controller)
    results = run(controller, job)
    assert [(trial.cause, trial.attempts) for trial in controller.trials()] == [
        ("out of memory", 1),
        ("diverged", 1),
        ("", 1),
    ]
    first, second, _ = controller.trials()
    assert re.match(r"out of memory: MemoryError \(test_loop.py:\d+, in __call__\); peak memory \d+ MiB", first.reason)
    assert first.metrics["memory/host_peak_mib"] > 10
    assert second.reason == "diverged: the loss is NaN at step 17"
    assert job.asked == ["ValueError: no"]
    assert [result.cause for result in results] == ["out of memory", "diverged", ""]


def test_a_process_with_a_broken_gpu_runs_no_other_trial(controller, monkeypatch):
    broken = iter(["", "AcceleratorError: CUDA error: device-side assert triggered"])
    monkeypatch.setattr("wandbsweep.agent.loop.find_broken_device", lambda: next(broken))
    with pytest.raises(BrokenDeviceError, match=r"Agent a ends, .*\(AcceleratorError: CUDA error: device-side assert"):
        run(controller, succeed)
    assert states(controller) == ["finished"]
    assert len(run(controller, succeed, separate=True)) == 2  # which use the GPU in processes of their own


@pytest.mark.parametrize(("code", "state"), [(None, "finished"), (0, "finished"), (3, "failed"), ("bye", "failed")])
def test_an_exit_in_the_task_does_not_end_the_agent(controller, code, state):
    def job(trial):
        current_trial().report(0, {"loss": 0.5})
        raise SystemExit(code)

    assert len(run(controller, job)) == 3
    assert states(controller) == [state] * 3


def test_a_stop_makes_a_stopped_trial():
    early = {"early_terminate": {"type": "hyperband", "min_iter": 1}}
    controller = create_sweep(load_sweep(CONFIG | early), seed=0)

    decisions = []

    def job(trial):
        decisions.append([current_trial().report(step, {"loss": loss}) for step, loss in ((0, trial.number), (1, -1))])
        return JobResult(returned=0.0)

    run(controller, job)
    assert [[decision.stop for decision in two] for two in decisions] == [[False, False], [True, True], [True, True]]
    assert all(second is first for first, second in decisions[1:])  # a stop is final
    stopped = controller.trials()[1]
    assert (stopped.state, stopped.reports, stopped.value) == ("stopped", {0: 1.0}, 1.0)
    assert stopped.reason.startswith("hyperband: 1 at iteration 1")


def test_an_interrupt_gives_the_trial_back(controller):
    def job(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(controller, job)
    assert [(t.state, t.reason) for t in controller.trials()] == [
        ("queued", "the agent was interrupted (KeyboardInterrupt)")
    ]
    resumed = []
    run(controller, lambda trial: resumed.append(current_trial().resumed) or succeed(trial))
    assert resumed == [True, False, False]


@pytest.mark.parametrize("swallow", [SystemExit, RuntimeError, None])
def test_an_interrupt_that_the_task_swallows_still_ends_the_agent(controller, swallow):
    def job(trial):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if swallow:
                raise swallow(1) from None
        return succeed(trial)

    with pytest.raises(KeyboardInterrupt):
        run(controller, job)
    assert states(controller) == ["queued"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("method", "left"), [("ask", ["queued"]), ("complete", ["finished"])])
def test_an_interrupt_while_the_store_is_written_waits_until_it_is(controller, method, left):
    whole = getattr(controller, method)

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        return whole(*args)

    setattr(controller, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(controller, succeed)
    assert states(controller) == left


def test_a_second_interrupt_does_not_wait(controller):
    def stuck(agent):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the agent still waits")

    controller.ask = stuck
    with pytest.raises(KeyboardInterrupt):
        run(controller, succeed)


def test_ignored_interrupts_stay_ignored(controller):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(controller, lambda trial: signal.raise_signal(signal.SIGINT) or succeed(trial))
    finally:
        signal.signal(signal.SIGINT, before)
    assert states(controller) == ["finished"] * 3


def test_an_agent_may_run_in_a_thread(controller):
    thread = threading.Thread(target=run, args=(controller, succeed))
    thread.start()
    thread.join()
    assert states(controller) == ["finished"] * 3


def test_a_generator_left_in_the_middle_leaves_nothing_behind(controller):
    agent = run_agent(controller, succeed, name="a", sweep_id="s")
    next(agent)
    agent.close()
    assert states(controller) == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_a_process(tmp_path):
    code = (
        "import json, sys, time\n"
        "from wandbsweep import create_sweep, load_sweep\n"
        "from wandbsweep.agent.loop import run_agent\n"
        "def job(trial):\n"
        "    print('running', flush=True)\n"
        "    time.sleep(60)\n"
        "controller = create_sweep(load_sweep(json.loads(sys.argv[1])), sys.argv[2])\n"
        "list(run_agent(controller, job, name='a', sweep_id='s'))\n"
    )
    command = [sys.executable, "-c", code, json.dumps(CONFIG), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as agent:
        assert agent.stdout.readline() == "running\n"
        os.kill(agent.pid, signal.SIGINT)
        assert agent.wait(20) == -signal.SIGINT
    controller = create_sweep(load_sweep(CONFIG), tmp_path)
    assert states(controller) == ["queued"]
    assert controller.ask("b").attempt == 2
