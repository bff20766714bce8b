"""``wandbsweep status``, ``table`` and ``best``, of every kind of sweep."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.cli import main as cli

PLAIN = RANDOM | {"metric": {"name": "val/loss"}, "run_cap": 9}
NO_METRIC = {"method": "grid", "parameters": {"a": {"values": [1, "two words"]}}}
REPEATS = PLAIN | {"repeats": {"parameter": "seed", "values": [7, 8]}}
METRICS = {key: value for key, value in PLAIN.items() if key != "metric"} | {
    "metrics": [{"name": "val/loss"}, {"name": "size", "goal": "minimize"}]
}
ALL = {"plain": PLAIN, "no metric": NO_METRIC, "repeats": REPEATS, "metrics": METRICS}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def controller(here):
    """Create a sweep in ``outputs/``."""
    return lambda config: create_sweep(load_sweep(config), "outputs/abcd1234", seed=0)


def run_trial(controller, *values, returned=None, size=1.0):
    trial = controller.ask("a")
    for step, value in enumerate(values):
        controller.report(trial, step, {"val/loss": value, "size": size})
    controller.complete(trial, Outcome.finished(returned))


def explain_no_best(config):
    if config is NO_METRIC:
        return "The sweep abcd1234 has no metric, so no best trial is known.\n"
    return "No trial of abcd1234 has a value yet.\n"


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
class TestEverySweep:
    def test_before_its_first_trial(self, controller, run_command, config):
        controller(config)
        total = 2 if config is NO_METRIC else 9
        assert run_command("status").splitlines()[2].startswith(f"0/{total} trials")
        assert json.loads(run_command("status", "--json"))["best"] is None
        (header,) = run_command("table").splitlines()
        assert header.split()[:2] == ["trial", "state"]
        assert json.loads(run_command("table", "--json")) == []
        for options in ([], ["--json"], ["--overrides"]):
            assert run_command("best", *options, status=1) == explain_no_best(config)

    def test_while_its_first_trial_runs(self, controller, run_command, config):
        sweep = controller(config)
        sweep.report(sweep.ask("a"), 0, {"val/loss": 0.5})
        assert "1 running" in run_command("status", "abcd1234")
        assert json.loads(run_command("status", "--json"))["counts"] == {"running": 1}
        (trial,) = json.loads(run_command("table", "--json"))
        assert trial["state"] == "running"
        assert run_command("table").splitlines()[1].split()[:2] == ["0", "running"]
        assert run_command("best", status=1) == explain_no_best(config)

    def test_with_values(self, controller, run_command, config):
        sweep = controller(config)
        for value in (0.5, 0.25):
            run_trial(sweep, value, returned=value)
        assert "2 finished" in run_command("status")
        assert len(json.loads(run_command("table", "--json"))) == 2
        assert len(json.loads(run_command("table", "--json", "--top", "1"))) == 1
        if config is NO_METRIC:
            assert run_command("status").splitlines()[-1] == "2/2 trials · 2 finished"
            return
        best = run_command("best")
        assert best.startswith("Best: trial ")
        assert "Train it again" not in best  # Hydra did not start this sweep, so which program runs a trial is unknown
        assert re.match(r"'?[xa]=", run_command("best", "--overrides"))

    def test_with_values_that_are_no_numbers(self, controller, run_command, config):
        sweep = controller(config)
        for value in (math.nan, math.inf):
            run_trial(sweep, value, returned=value)
        for command in ("status", "table"):
            assert json.loads(run_command(command, "--json"), parse_constant=pytest.fail)
        assert len(run_command("table").splitlines()) == 3
        assert run_command("best", status=1) == explain_no_best(config)


def test_the_best_of_a_plain_sweep(controller, run_command):
    sweep = controller(PLAIN)
    run_trial(sweep, 0.5, 0.75)
    run_trial(sweep, 0.25)
    best = json.loads(run_command("best", "--json"))
    wanted = {"number": 1, "state": "finished", "metric": 0.25, "metric_name": "val/loss"}
    assert wanted.items() <= best.items()
    assert best["metrics"] == {"val/loss": 0.25, "size": 1.0}
    assert best["overrides"] == [f"x={best['params']['x']!r}"]
    assert best["directory"].endswith("outputs/abcd1234/1")
    assert json.loads(run_command("status", "--json"))["best"] == {"number": 1, "metric": 0.25, "step": 0, "last": 0.25}
    assert run_command("status").splitlines()[0] == "abcd1234: random over 1 parameter, minimize val/loss"
    assert run_command("status").splitlines()[2] == "2/9 trials · 2 finished · best val/loss 0.25 (trial 1)"


def test_the_best_configuration_of_repeats(controller, run_command):
    sweep = controller(REPEATS)
    for value in (0.5, 0.75):
        run_trial(sweep, value)
    assert "Best: trial 0, val/loss 0.625 ± 0.17678, the mean of 2 runs" in run_command("best")
    best = json.loads(run_command("best", "--json"))
    assert (best["metric"], best["mean"], best["runs"]) == (0.5, 0.625, [0, 1])
    assert best["params"]["seed"] == 7
    assert json.loads(run_command("status", "--json"))["best"] == {"number": 0, "metric": 0.625, "step": 0, "last": 0.5}
    assert "best val/loss 0.625 ± 0.17678, the mean of 2 runs" in run_command("status")
    header, *rows = run_command("table").splitlines()
    assert header.split() == ["trial", "state", "val/loss", "step", "last", "mean", "steps", "time", "x", "seed"]
    assert [row.split()[5] for row in rows] == ["0.625", "0.625"]


def test_the_front_of_several_metrics(controller, run_command):
    sweep = controller(METRICS)
    for value, size in [(0.5, 1.0), (0.25, 2.0), (0.5, 3.0)]:
        run_trial(sweep, value, size=size)
    assert [trial["number"] for trial in json.loads(run_command("best", "--json"))] == [0, 1]
    assert run_command("best").count("Best: trial") == 2
    assert len(run_command("best", "--overrides").splitlines()) == 2
    assert "trial 1, val/loss 0.25, size 2" in run_command("best")
    found = json.loads(run_command("status", "--json"))
    assert found["metrics"] == {"val/loss": "minimize", "size": "minimize"}
    assert found["best"] == {"front": [0, 1]}
    assert "minimize val/loss, minimize size" in run_command("status")
    assert "3/9 trials · 3 finished · 2 on the Pareto front" in run_command("status")
    assert [trial["number"] for trial in json.loads(run_command("table", "--json"))] == [0, 1, 2]


def test_a_sweep_that_is_not_there(here, run_command):
    assert "There is no sweep in" in run_command("status", status=2)
    assert "No sweep 'nonesuch'" in run_command("best", "nonesuch", status=2)


def test_a_sweep_that_was_misspelt(here, run_command):
    for number in range(7):
        create_sweep(load_sweep(PLAIN), f"outputs/abcd123{number}")
        os.utime(f"outputs/abcd123{number}/sweep.yaml", (number, number))
    message = run_command("best", "abcd12x6", status=2)
    assert "the newest of the 7 sweeps in outputs/ are abcd1236, abcd1235, abcd1234, abcd1233, abcd1232;" in message
    assert "did you mean abcd1236, abcd1235 or " in message


@pytest.mark.parametrize(
    ("file", "text", "where"),
    [
        ("journal.log", "not json", "journal.log, line 4: the journal is damaged: 'not json' is not a JSON object"),
        ("journal.log", "[1]", "journal.log, line 4: the journal is damaged: '[1]' is not a JSON object"),
        (".sweep/plan.json", "{", ".sweep/plan.json is damaged: line 2, column 1: not valid JSON"),
        (".sweep/plan.json", "{}", ".sweep/plan.json holds no launch record"),
    ],
)
@pytest.mark.parametrize("command", ["status", "table", "best"])
def test_a_damaged_sweep(controller, run_command, command, file, text, where):
    controller(PLAIN)
    path = Path("outputs/abcd1234", file)
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}{text}\n")
    message = run_command(command, status=2)
    assert where in message
    assert len(message.splitlines()) == 1


def test_a_journal_that_cannot_be_read(controller, run_command):
    controller(PLAIN)
    Path("outputs/abcd1234/journal.log").unlink()
    Path("outputs/abcd1234/journal.log").mkdir()
    assert re.fullmatch(r"Cannot read .*/journal.log: Is a directory.\n", run_command("status", status=2))


@pytest.mark.parametrize(
    ("redirected", "status", "message"),
    [("> /dev/full", 2, "wandbsweep: [Errno 28] No space left on device\n"), ("| true; exit ${PIPESTATUS[0]}", 0, "")],
)
def test_output_that_cannot_be_written(controller, redirected, status, message):
    controller(PLAIN)
    command = f"{sys.executable} -m wandbsweep.cli status {redirected}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (status, message)


def test_ctrl_c_while_watching(controller):
    controller(PLAIN).ask("a")
    command = [sys.executable, "-m", "wandbsweep.cli", "status", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "abcd1234" in process.stdout.readline()
        assert [process.stdout.readline() for _ in range(2)][1].startswith("0/9 trials")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == ""


def test_the_table_of_many_trials(controller, run_command, monkeypatch):
    sweep = controller(PLAIN | {"run_cap": 60})
    for value in range(60):
        run_trial(sweep, value)
    assert len(run_command("table").splitlines()) == 61
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert run_command("table").splitlines()[0] == "50 of 60 trials; --top 0 for all"
    assert len(run_command("table").splitlines()) == 52
    assert run_command("table", "--top", "3").splitlines()[0] == "3 of 60 trials"
    assert len(run_command("table", "--top", "0").splitlines()) == 61


def test_the_table_of_a_narrow_terminal(controller, run_command, monkeypatch):
    parameters = {f"group.parameter_{k}": {"values": ["some text"]} for k in range(5)}
    run_trial(controller(PLAIN | {"parameters": parameters}), 0.5)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert len(run_command("table").splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "80")
    header, first, *others = run_command("table").splitlines()
    assert header.endswith("parameters")
    assert (
        first.index("parameter_0=some text") == header.index("parameters") == len(others[0]) - len(others[0].lstrip())
    )
    assert all(len(line) <= 80 and line == line.rstrip() for line in (header, first, *others))


@pytest.mark.parametrize("text", ["x", "-1", "1.5"])
def test_a_top_that_is_no_count(controller, capsys, text):
    controller(PLAIN)
    with pytest.raises(SystemExit):
        cli.main(["table", f"--top={text}"])
    assert f"the value is {text!r}, but must be a whole number >= 0" in capsys.readouterr().err


def test_the_newest_sweep_is_the_default(controller, run_command):
    controller(PLAIN)
    create_sweep(load_sweep(PLAIN), "outputs/newer")
    assert run_command("status").startswith("newer: ")


def test_watching_ends_with_the_sweep(controller, run_command):
    sweep = controller(PLAIN)
    run_trial(sweep, 0.5)
    sweep.close()  # else it might ask for another trial
    output = run_command("status", "--watch")
    assert output.count("abcd1234") == 2
    assert "No agent is running" in output
