"""Programs as trials: real processes of small shell and Python scripts, on an embedded controller."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.program_job import ProgramJob
from wandbsweep.agent.signals import Signalled, SignalWatch
from wandbsweep.controllers.embedded.controller import EmbeddedController
from wandbsweep.controllers.open import create_sweep
from wandbsweep.spec.load import load_sweep
from wandbsweep.sweep.launch_record import Application, LaunchRecord, Program, TrialOverrides
from wandbsweep.trial import TrialRecord

OUT_OF_MEMORY = "torch.cuda.OutOfMemoryError: CUDA out of memory."
PRINTS = {"name": "loss", "from": "stdout"}


class Sweep:
    """A sweep of one program, whose agent is this process."""

    def __init__(self, directory: Path, command: list[str], *, grace_s: float = 5.0, **config: Any) -> None:
        given = {"method": "grid", "parameters": {"lr": {"values": [1]}}, "metric": PRINTS, **config}
        self.spec = load_sweep({"command": command, **given})
        self.directory = directory
        self.controller: EmbeddedController = create_sweep(self.spec, directory, seed=0)
        application = Application(str(directory), None, "program", ["wandbsweep", "run"])
        program = Program(command, sys.executable, grace_s)
        self.record = LaunchRecord(directory.name, application, TrialOverrides([], []), program=program)

    def run(self, watch: SignalWatch | None = None) -> list[TrialRecord]:
        watch = watch or SignalWatch()
        job = ProgramJob(self.record, self.directory, self.spec, watch=watch)
        agent = run_agent(self.controller, job, name="0", sweep_id="s", metric="loss", watch=watch, separate=True)
        list(agent)
        return self.controller.trials()


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def python(script: str) -> list[str]:
    return ["${interpreter}", "-c", script]


def run_one(directory: Path, command: list[str], **options: Any) -> TrialRecord:
    (trial,) = Sweep(directory, command, **options).run()
    return trial


def test_what_it_prints(tmp_path: Path) -> None:
    trial = run_one(tmp_path, shell('echo loss=2 >&2; echo epoch=0 loss=2; echo \'{"loss": 1.5, "step": 4}\''))
    assert (trial.state, trial.reports, trial.metrics["epoch"]) == ("finished", {0: 2.0, 4: 1.5}, 0.0)
    assert (tmp_path / "0" / "stdout.log").read_text().startswith("epoch=0 loss=2\n")
    assert (tmp_path / "0" / "stderr.log").read_text() == "loss=2\n"


def test_what_it_reports(tmp_path: Path) -> None:
    script = """
from wandbsweep import current_trial
trial = current_trial()
assert trial.params == {"lr": 1} and not trial.resumed and trial.directory.name == "0"
for step in range(3):
    print(trial.report(step, {"loss": 3 - step}).stop)
"""
    trial = run_one(tmp_path, python(script), metric={"name": "loss"})
    assert (trial.state, trial.history) == ("finished", [3.0, 2.0, 1.0])


def test_what_it_gets(tmp_path: Path) -> None:
    """Its parameters, its place, and nothing of another run; its working directory is that of the sweep."""
    names = ["WANDB_MODE", "WANDB_RUN_ID", "WANDB_DIR", "WANDB_SWEEP_ID", "WANDBSWEEP_DIRECTORY", "WANDBSWEEP_ATTEMPT"]
    script = f"""
import json, os, sys
given = [os.environ.get(name) for name in {names}]
params = open(os.environ["WANDB_SWEEP_PARAM_PATH"]).read()
print(json.dumps([given, sys.argv[1:], os.getcwd(), sys.stdin.read(), params]))
print(json.dumps({{"loss": json.load(open(sys.argv[-1]))["lr"]}}))
"""
    before = os.environ.get("WANDB_SWEEP_ID")
    os.environ["WANDB_SWEEP_ID"] = "other"
    try:
        trial = run_one(tmp_path, [*python(script), "${args}", "${args_json_file}"])
    finally:
        del os.environ["WANDB_SWEEP_ID"]
        if before is not None:
            os.environ["WANDB_SWEEP_ID"] = before
    place = str(tmp_path / "0")
    given, arguments, cwd, stdin, params = json.loads((tmp_path / "0" / "stdout.log").read_text().splitlines()[0])
    assert given == ["offline", f"{tmp_path.name}-0", place, None, place, "1"]
    assert arguments == ["--lr=1", f"{place}/params.json"]
    assert (cwd, stdin) == (str(tmp_path), "")
    assert params == "wandb_version: 1\n\nlr:\n  value: 1\n"
    assert trial.value == 1.0


@pytest.mark.parametrize(
    ("script", "state", "reason", "cause"),
    [
        ("echo 1 >&2; echo 'ValueError: no' >&2; exit 3", "failed", "exit status 3: ValueError: no", ""),
        (
            "echo 'torch.cuda.OutOfMemoryError: CUDA out of memory.' >&2; exit 1",
            "failed",
            "out of memory",
            "out of memory",
        ),
        ("exit 137", "failed", "exit status 137 (SIGKILL)", ""),
        ("echo nothing", "failed", "the metric 'loss' was never reported", ""),
        ("kill -SEGV $$", "crashed", "its process was killed by SIGSEGV; attempt 1 of 1", ""),
    ],
)
def test_how_it_fails(script: str, state: str, reason: str, cause: str, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, shell(script))
    sweep.controller.close()
    sweep.controller = create_sweep(sweep.spec, tmp_path, seed=0, max_attempts=1)
    (trial,) = sweep.run()
    assert (trial.state, trial.cause) == (state, cause)
    assert reason in trial.reason
    if "no'" in script:
        assert (tmp_path / "0" / "traceback.txt").read_text() == "1\nValueError: no"


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    trial = run_one(tmp_path, ["./nonesuch", "${args}"])
    assert trial.state == "failed"
    assert "the program cannot be started: FileNotFoundError" in trial.reason


def test_a_trial_whose_process_was_killed_is_tried_again(tmp_path: Path) -> None:
    script = "echo loss=$WANDBSWEEP_ATTEMPT; test $WANDBSWEEP_ATTEMPT = 2 || kill -KILL $$"
    trial = run_one(tmp_path, shell(script))
    assert (trial.state, trial.attempts, trial.value) == ("finished", 2, 2.0)


HYPERBAND = {
    "parameters": {"lr": {"values": [1, 2]}},
    "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 3},
}


def test_a_bad_trial_is_stopped(tmp_path: Path) -> None:
    """By SIGTERM, on which it may save. A shell ends at once, and what it has started is asked then."""
    saving = "trap 'touch saved; exit 0' TERM; while :; do sleep 0.05; done"
    (tmp_path / "save.sh").write_text(saving)
    script = "echo loss=${1#lr=}; test $1 = lr=1 || sh save.sh"
    first, second = Sweep(tmp_path, [*shell(script), "sh", "${args_no_hyphens}"], **HYPERBAND).run()
    assert (first.state, second.state) == ("finished", "stopped")
    assert (tmp_path / "saved").exists()


def test_a_trial_that_is_deaf_is_killed(tmp_path: Path) -> None:
    script = 'trap "" TERM; echo loss=${1#lr=}; test $1 = lr=1 || while :; do sleep 0.05; done'
    command = [*shell(script), "sh", "${args_no_hyphens}"]
    began = time.monotonic()
    first, second = Sweep(tmp_path, command, grace_s=0.3, **HYPERBAND).run()
    assert (first.state, second.state) == ("finished", "stopped")
    assert "hyperband" in second.reason
    assert second.history == [2.0]
    assert time.monotonic() - began < 10


def test_what_a_trial_leaves_behind_ends(tmp_path: Path) -> None:
    run_one(tmp_path, shell("sleep 1000 & echo $! > left; echo loss=1"))
    left = int((tmp_path / "left").read_text())
    state = Path(f"/proc/{left}/stat")
    deadline = time.monotonic() + 5
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def test_a_trial_is_cancelled_while_it_is_silent(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, shell("sleep 1000"))
    started = threading.Thread(target=_cancel_when_it_runs, args=[sweep])
    started.start()
    (trial,) = sweep.run()
    started.join()
    assert (trial.state, trial.reason) == ("stopped", "the sweep was cancelled")


def _cancel_when_it_runs(sweep: Sweep) -> None:
    while not (sweep.directory / "0" / "stdout.log").exists():
        time.sleep(0.01)
    sweep.controller.command = "cancelled"


def test_an_agent_that_is_asked_to_end_gives_its_trial_back(tmp_path: Path) -> None:
    """The program gets SIGTERM, whatever the signal; what it printed before counts, and it is continued later."""
    script = "echo loss=$WANDBSWEEP_ATTEMPT; test $WANDBSWEEP_ATTEMPT = 2 || { touch started; sleep 1000; }"
    sweep, watch = Sweep(tmp_path, shell(script)), SignalWatch()
    process = os.getpid()

    def interrupt() -> None:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        os.kill(process, signal.SIGTERM)

    def ignore(signum: int, frame: object) -> None:
        raise Signalled(signal.Signals(signum))

    before = signal.signal(signal.SIGTERM, ignore)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Signalled):
            sweep.run(watch)
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert [trial.state for trial in sweep.controller.trials()] == ["queued"]
    (trial,) = sweep.run()
    assert (trial.state, trial.attempts, trial.value) == ("finished", 2, 2.0)  # it began anew


def test_a_log_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    write = 'd=$WANDB_DIR/wandb/offline-run-1; mkdir -p $d; printf ":W&B??\\001 and more" > $d/run-x.wandb'
    trial = run_one(tmp_path, shell(write), metric={"name": "loss"})
    assert trial.state == "failed"
    assert "the log of W&B's client cannot be read: run-x.wandb: it begins with b':W&B??" in trial.reason
