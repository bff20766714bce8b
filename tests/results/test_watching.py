"""The panel of ``status --watch``: what it shows, and that it fits into the terminal."""

import doctest
import io
import re
import time

import pytest
from rich.console import Console

from tests.results.sweeps import TRADE_OFF, TRAINING, train_sweep
from wandbsweep import Outcome, TrialRecord, create_sweep, load_sweep, open_sweep
from wandbsweep.cli import main as cli
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal import watching
from wandbsweep.results.terminal.watching import SweepPanel, describe_remaining, draw_sparkline, follow, watch


def draw(results, total=30, width=80, height=24, notes=()):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(SweepPanel(results, total, time.time(), notes))
    return console.file.getvalue()


@pytest.fixture
def running(tmp_path):
    """A few ended trials, and one that runs."""
    train_sweep(tmp_path, TRAINING | {"run_cap": 30}, 30, steps=3)
    directory = tmp_path / "going"
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 30}), directory, seed=0)
    for number in range(8):
        trial = controller.ask("0")
        for step in range(6):
            controller.report(trial, step, {"val/loss": 9 - number - step / 10})
        controller.complete(trial, Outcome.finished())
    trial = controller.ask("an agent with a name that is far too long")
    for step in range(20):
        controller.report(trial, step, {"val/loss": 1 / (step + 1)})
    return open_sweep(directory)


def test_what_is_in_it(running):
    text = draw(running)
    assert "8/30 trials · 1 running · 8 finished · best val/loss 1.5 (trial 7)" in text
    assert "the last 8 trials took" in text
    assert "best so far 8.5 █" in text
    (agent,) = (line for line in text.splitlines() if line.startswith("an agent"))
    assert re.match(r"an agent with… +8 +19 .* 0\.05 +█", agent)


@pytest.mark.parametrize("width", [80, 60, 40])
def test_it_fits(running, width):
    lines = draw(running, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("━" in line for line in lines) == 1  # the bar does not wrap
    assert any(line.startswith("agent") and "value" in line for line in lines)


@pytest.mark.parametrize(("height", "agents"), [(24, 8), (16, 2)])
def test_it_is_no_higher_than_the_terminal(tmp_path, height, agents):
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 90}), tmp_path, seed=0)
    for number in range(40):
        trial = controller.ask(f"node-{number}")
        controller.report(trial, 0, {"val/loss": number})
        if number < 6:
            controller.complete(trial, Outcome.finished())
    lines = draw(open_sweep(tmp_path), 90, height=height).splitlines()
    assert sum(line.startswith("node-") for line in lines) == agents
    assert any(line.startswith("…") and f"{34 - agents} more" in line for line in lines)
    assert len(lines) <= max(height, 20)  # the least there is to show


def test_without_agents_there_is_no_remaining_time(running):
    text = draw(running, notes=["No agent is running. Resume with:\n  python train.py"])
    assert "No agent is running. Resume with:" in text
    assert " left (" not in text


def test_sweeps_of_other_kinds(tmp_path):
    lines = {}
    for kind, config in {
        "metrics": TRADE_OFF,
        "none": {"method": "grid", "parameters": {"a": {"values": [1]}}},
    }.items():
        create_sweep(load_sweep(config), tmp_path / kind).close()
        lines[kind] = draw(open_sweep(tmp_path / kind), None).splitlines()
    assert lines["metrics"] == [
        "metrics: random over 2 parameters, minimize loss, minimize size",
        "0 trials · 0 on the Pareto front",
    ]
    assert lines["none"] == ["none: grid over 1 parameter", "0 trials"]


def trial(number, state, agent="a", seconds=10.0):
    return TrialRecord(
        number, state, {}, agent=agent, started=100.0, ended=None if state == "running" else 100.0 + seconds
    )


def test_eta(tmp_path):
    spec = load_sweep(TRAINING)
    trials = [trial(0, "finished"), trial(1, "stopped", seconds=20), trial(2, "running"), trial(3, "running", "b")]
    found = describe_remaining(SweepData(tmp_path, spec, trials), 10)
    assert found == "about 1 min 0 s left (the last 2 trials took 15.0 s each, 2 agents)"
    assert describe_remaining(SweepData(tmp_path, spec, trials), None) == ""
    assert describe_remaining(SweepData(tmp_path, spec, trials[:2]), 10) == ""


def test_doctests():
    assert doctest.testmod(watching).failed == 0
    assert len(draw_sparkline([float(i) for i in range(1000)], 16)) == 16
    assert draw_sparkline([]) == draw_sparkline([float("inf")]) == ""


def test_it_ends_with_the_sweep(running):
    ended = SweepData(running.directory, running.spec, running.trials[:8])
    reads = iter([running, ended])
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    watch(lambda: next(reads), console, every_s=0)
    shown = console.file.getvalue()
    assert "8 finished" in shown
    assert " left (the last 8 trials took" in shown


def test_an_agent_between_two_trials_is_waited_for(tmp_path):
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 2}), tmp_path, seed=0)
    controller.complete(controller.ask("a"), Outcome.finished())
    reader = SweepReader(tmp_path)
    seen = []
    for results, liveness in follow(reader.read, every_s=0.01):
        seen.append((len(results.trials), liveness.is_alive))
        if len(results.trials) == 1:
            controller.complete(controller.ask("a"), Outcome.finished())
    controller.close()
    assert seen == [(1, True), (2, True)]


def test_what_a_vanished_sweep_says(tmp_path):
    controller = create_sweep(load_sweep(TRAINING | {"run_cap": 2}), tmp_path, seed=0)
    controller.complete(controller.ask("a"), Outcome.finished())
    controller.close()
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    watch(SweepReader(tmp_path).read, console, every_s=0)
    assert "No agent is running." in console.file.getvalue()


def test_in_a_pipe_it_is_lines(tmp_path, monkeypatch, capsys):
    train_sweep(tmp_path / "done", TRAINING, 2)
    assert cli.main(["status", "--watch", str(tmp_path / "done")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2/2 trials")
