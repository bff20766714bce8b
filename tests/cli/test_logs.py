"""``wandbsweep logs``: of trials and agents, while they run and afterwards."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    controller = create_sweep(load_sweep(RANDOM | {"run_cap": 2}), "outputs/abcd1234", seed=0)
    yield controller
    controller.close()


def write(name, text):
    path = Path("outputs/abcd1234", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def test_a_trial(sweep, run_command):
    sweep.ask("a")
    write("0/train.log", "first attempt\nsecond attempt\n")
    for command in (["abcd1234", "0"], ["0"]):
        assert run_command("logs", *command) == "first attempt\nsecond attempt\n"
    write("0/train.rank1.log", "other rank\n")
    write("0/notes.md", "not a log")
    both = "==> train.log <==\nfirst attempt\nsecond attempt\n\n==> train.rank1.log <==\nother rank\n"
    assert run_command("logs", "abcd1234", "0") == both
    files = json.loads(run_command("logs", "abcd1234", "0", "--json"))["files"]
    assert [Path(file).name for file in files] == ["train.log", "train.rank1.log"]


def test_agents(sweep, run_command):
    assert "have logged nothing" in run_command("logs", status=1)
    write("agents/0/train.log", "agent 0\n")
    write("agents/0/ranks/1/train.log", "rank\n")
    write(".submitit/12_0/12_0_0_log.out", "printed\n")
    text = run_command("logs", "abcd1234")
    assert [line for line in text.splitlines() if line.startswith("==>")] == [
        "==> agents/0/train.log <==",
        "==> agents/0/ranks/1/train.log <==",
        "==> .submitit/12_0/12_0_0_log.out <==",
    ]


def test_below_directories_that_may_not_be_read(run_command, monkeypatch):
    monkeypatch.chdir("/proc/1")  # often even root may not read all of it
    assert "No sweep 'abcd1234'" in run_command("logs", "abcd1234", status=2)


def test_nothing_to_show(sweep, run_command):
    assert "has no trial '7'; none has started yet" in run_command("logs", "abcd1234", "7", status=2)
    sweep.ask("a")
    assert "has no trial '7'; its trials are 0 to 0" in run_command("logs", "7", status=2)
    assert "has no trial 'x'" in run_command("logs", "abcd1234", "x", status=2)
    assert "Trial 0 of abcd1234 has logged nothing" in run_command("logs", "abcd1234", "0", status=1)
    assert "Logs lie where trials run" in run_command("logs", "wandb:a/b/c", "0", status=2)


def follow(*arguments):
    command = [sys.executable, "-m", "wandbsweep.cli", "logs", "abcd1234", *arguments, "--follow"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_following_a_trial_to_its_end(sweep):
    trial = sweep.ask("a")
    write("0/train.log", "begin ")
    with follow("0") as process:
        assert process.stdout.read(6) == b"begin "
        write("0/train.log", b"caf\xe9\n")  # as it was written
        assert process.stdout.readline() == b"caf\xe9\n"
        write("0/train.log", "end\n")
        write("0/traceback.txt", "why\n")
        sweep.complete(trial, Outcome.failed("why"))
        assert process.stdout.read() == b"end\n\n==> traceback.txt <==\nwhy\n"
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_ctrl_c_while_following_agents(sweep):
    sweep.ask("a")
    write("agents/0/train.log", "agent 0\n")
    with follow() as process:
        assert process.stdout.readline() == b"agent 0\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
