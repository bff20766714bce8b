"""Trials as runs of the real wandb client, and the sweep read back from W&B."""

import json
import signal
import subprocess
import sys

import pytest

from tests.configurations import RANDOM
from tests.hosted.parts import add_sweep, find_key, wait_until
from tests.hosted.server import ENTITY

START = """
import json, os, sys, threading
from pathlib import Path
from wandbsweep import Outcome, load_sweep
from wandbsweep.controllers.hosted.controller import HostedController
from wandbsweep.controllers.hosted.sweeps import create_hosted_sweep
from wandbsweep.wandb_runs.auth import read_login
from wandbsweep.wandb_runs.environment import apply_environment
from wandbsweep.wandb_runs.stock_agent import exit_on_signals

def open_controller(sweep_id, spec, **more):
    return HostedController(spec, sweep_id, directory=Path.cwd(), heartbeat_s=0.2, **more)
"""


def test_a_whole_sweep_with_two_agents_whose_training_only_reports(server, python):
    done = python(
        START
        + """
parameters = {"model.dim": {"values": [1, 2]}, "a": {"value": None}}
spec = load_sweep({"method": "grid", "metric": {"name": "loss"}, "parameters": parameters})
sweep_id = create_hosted_sweep(spec, read_login()).sweep_id
controller = open_controller(sweep_id, spec)

def agent(name):
    while trial := controller.ask(name):
        for step in range(3):
            controller.report(trial, step, {"loss": trial.params["model.dim"] * step + 1.0})
        controller.complete(trial, Outcome.finished())

threads = [threading.Thread(target=agent, args=(name,)) for name in "ab"]
[thread.start() for thread in threads], [thread.join() for thread in threads]
local = [(t.number, t.state, t.value, len(t.reports), t.params) for t in controller.trials()]
controller.close()

from wandbsweep import open_sweep
results = open_sweep(f"wandb:{controller.path}")
remote = [(t.number, t.state, t.value, len(t.reports), t.params) for t in results.trials]
frame = results.frame[["number", "state", "metric", "steps", "params.model.dim"]].values.tolist()
best = results.best
print(json.dumps([local, remote, frame, best.value, results.sweep_id, len(results.ranked)]))
"""
    )
    local, remote, frame, best, sweep_id, ranked = json.loads(done.stdout.splitlines()[-1])
    assert local == remote
    assert [row[:4] for row in frame] == [[0, "finished", 1.0, 3], [1, "finished", 1.0, 3]]
    assert sorted(row[4] for row in frame) == [1, 2]
    assert (best, ranked) == (1.0, 2)
    runs = server.list_runs(sweep_id)
    assert len(runs) == 2
    for run in runs:
        dim = run.params["model.dim"]
        assert (run.state, run.values("loss")) == ("finished", [1.0, dim + 1.0, 2 * dim + 1.0])
        assert {name: run.config[name]["value"] for name in run.params} == run.params
    assert {run.facts["displayName"] for run in runs} == {f"{sweep_id}-0", f"{sweep_id}-1"}


def test_training_that_starts_its_own_run(server, python):
    """As under the basic launcher: all trials in one process, where each ``wandb.init()`` starts the trial's run."""
    sweep_id = add_sweep(server, RANDOM | {"run_cap": 3})
    python(
        START
        + f"""
import wandb
spec = load_sweep({RANDOM | {"run_cap": 3}!r})
controller = open_controller({sweep_id!r}, spec)
while trial := controller.ask("a"):
    with apply_environment(trial.environment):
        run = wandb.init()
        assert run.config["x"] == trial.params["x"]
        for step in range(3):
            run.log({{"loss": 0.5 - step / 10}})
            controller.report(trial, step, {{"loss": 0.5 - step / 10}})
        if trial.number == 1 and trial.attempt == 1:
            run.mark_preempting()
            run.finish(exit_code=1)
            controller.release(trial, "preempted")
            continue
        if trial.number == 2:
            run.summary["wandbsweep/stopped"] = "by hand"
        run.finish()
    controller.complete(trial, Outcome.stopped("by hand") if trial.number == 2 else Outcome.finished())
controller.close()
assert not [name for name in os.environ if name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_RESUME")]
from wandbsweep import open_sweep
results = open_sweep(f"wandb:{{controller.path}}")
states = [[t.state for t in trials] for trials in (results.trials, controller.trials())]
assert states == [["finished", "finished", "stopped"]] * 2, states
assert results.trials[2].reason == "by hand"
assert [t.attempts for t in controller.trials()] == [1, 2, 1]
"""
    )
    runs = server.list_runs(sweep_id)
    assert [run.begun for run in runs] == [1, 2, 1]
    assert [len(run.values("loss")) for run in runs] == [3, 6, 3]
    assert {run.state for run in runs} == {"finished"}


@pytest.mark.parametrize(("signum", "state"), [(signal.SIGTERM, "failed"), (signal.SIGUSR2, "preempted")])
def test_a_signal_loses_no_history(server, home, signum, state):
    sweep_id = add_sweep(server, RANDOM)
    program = (
        START
        + f"""
import time, wandb
controller = open_controller({sweep_id!r}, load_sweep({RANDOM!r}))
trial = controller.ask("a")
with apply_environment(trial.environment), exit_on_signals(), wandb.init() as run:
    for step in range(20):
        run.log({{"loss": step}})
    print("trained", flush=True)
    time.sleep(30)
"""
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=home)
    with process:
        assert any("trained" in line for line in process.stdout)
        process.send_signal(signum)
        assert process.wait(timeout=30) == 128 + signum
    (run,) = server.list_runs(sweep_id)
    assert run.values("loss") == list(range(20))
    assert run.state == state


def test_the_trial_of_a_killed_agent_is_resumed_by_the_next_one(server, home):
    sweep_id = add_sweep(server, RANDOM | {"run_cap": 1})
    program = (
        START
        + f"""
import time
controller = open_controller({sweep_id!r}, load_sweep({RANDOM | {"run_cap": 1}!r}))
trial = controller.ask("a")
for step in range(2):
    controller.report(trial, trial.attempt * 10 + step, {{"loss": 1.0 / trial.attempt}})
print("reported", flush=True)
time.sleep(30 if trial.attempt == 1 else 0)
controller.complete(trial, Outcome.finished())
assert controller.ask("a") is None
controller.close()
"""
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home) as process:
        assert any("reported" in line for line in process.stdout)
        (run,) = server.list_runs(sweep_id)
        wait_until(lambda: run.state == "running")
        process.kill()
    subprocess.run(command, check=True, cwd=home, timeout=30)
    assert len(server.list_runs(sweep_id)) == 1
    assert (run.state, run.exitcode) == ("finished", 0)
    assert run.values("loss")[-2:] == [0.5, 0.5]


def test_nothing_that_a_sweep_writes_contains_the_key(server, home):
    """Files, logs, pickles, process titles and errors of a sweep under a marked key."""
    sweep_id = add_sweep(server, RANDOM | {"run_cap": 2})
    program = (
        START
        + f"""
import glob, logging, pickle, time, wandb
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
spec = load_sweep({RANDOM | {"run_cap": 2}!r})
controller = open_controller({sweep_id!r}, spec)
trial = controller.ask("a")
with apply_environment(trial.environment), wandb.init() as run:
    run.log({{"loss": 0.5}})
    titles = [Path(p).read_bytes() for p in glob.glob("/proc/[0-9]*/cmdline") if os.path.exists(p)]
controller.complete(trial, Outcome.finished())
trial = controller.ask("a")
controller.report(trial, 0, {{"loss": 0.1}})
controller.complete(trial, Outcome.failed("broken"))
Path("login.pickle").write_bytes(pickle.dumps(controller.login))
assert pickle.loads(Path("login.pickle").read_bytes()) == controller.login
Path("titles").write_bytes(b"".join(titles))
print(repr(controller.login), repr(controller._client.transport), vars(controller._client.transport).keys())
from wandbsweep.controllers.hosted.transport import Transport
Transport(controller.login).call_once("Nothing", "query Nothing {{ nothing }}", {{}})
"""
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=home, timeout=60)
    assert "unknown operation Nothing" in done.stderr
    assert find_key(home, done.stdout, done.stderr) == []
    assert ENTITY in done.stdout
