"""Live progress: what it says of a trial, and that it fits the terminal."""

import io
import math

import pytest
from rich.console import Console

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep
from wandbsweep.launch.monitor import Monitor, describe_end

CONFIG = RANDOM | {"metric": {"name": "validation/loss_of_the_ensemble"}, "run_cap": 1000}


@pytest.fixture
def run_trials(tmp_path):
    """A sweep whose trials report these values."""

    def run_trials(*trials):
        controller = create_sweep(load_sweep(CONFIG), tmp_path)
        for values in trials:
            trial = controller.ask("a")
            for step, value in enumerate(values):
                controller.report(trial, step, {CONFIG["metric"]["name"]: value})
            controller.complete(trial, Outcome.finished())
        return open_sweep(tmp_path)

    return run_trials


def make_monitor(*arguments, **options):
    """A monitor that reads the sweep once, since its end has come already."""
    monitor = Monitor(arguments[0], 1000, *arguments[1:], **options)
    monitor.done.set()
    return monitor


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 0.25], "finished: validation/loss_of_the_ensemble 0.25, 2 steps, "),
        ([0.5], "finished: validation/loss_of_the_ensemble 0.5, 1 step, "),
        ([math.nan], "finished: no finite value of validation/loss_of_the_ensemble, 1 step, "),
    ],
)
def test_how_a_trial_ended(run_trials, values, expected):
    results = run_trials(values)
    assert describe_end(results.trials[0], results).startswith(expected)


def test_a_narrow_terminal_has_the_count_and_the_times_in_full(run_trials):
    results = run_trials([0.123456])
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    make_monitor(lambda: results, console=console).draw_bar()
    line = next(line for line in out.getvalue().splitlines() if "1/1000" in line and "finished" in line)
    assert "0:00:0" in line
    assert line.count("…") == 1
    assert line.rstrip().endswith("…")


@pytest.mark.parametrize("width", [80, 200])
def test_notes_are_above_the_bar(run_trials, width):
    results, out = run_trials([0.5]), io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    make_monitor(lambda: results, lambda data: [f"[{len(data.trials)}] is few"], console=console).draw_bar()
    assert "Note: [1] is few" in out.getvalue()


def test_the_picture_makes_room_for_what_comes_after_it(run_trials):
    results, out = run_trials([0.5, 0.25]), io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    make_monitor(
        lambda: results, lambda data: ["that was quick"], lambda data: ["Paused"], console=console
    ).draw_picture()
    text = out.getvalue()
    assert "1/1000 trials" in text
    assert "Paused" in text
    assert text.index("Note: that was quick") < text.index("1/1000 trials")
    assert text.endswith("\x1b[2K")  # every line of it is erased


def test_what_runs_is_shown_before_anything_has_ended(tmp_path, capsys):
    """A trial that starts and reports between two polls gets two lines; more reports within a minute get none."""
    controller = create_sweep(load_sweep(CONFIG), tmp_path)
    monitor = Monitor(lambda: open_sweep(tmp_path), 1000)
    monitor.say("agent 0 is starting")
    polls = []

    def poll():
        yield open_sweep(tmp_path)
        trial = controller.ask("a")
        for step in range(3):
            controller.report(trial, step, {CONFIG["metric"]["name"]: 0.5 / (step + 1)})
            polls.append(trial)
            yield open_sweep(tmp_path)
        controller.complete(trial, Outcome.finished())
        yield open_sweep(tmp_path)

    monitor._poll = poll
    monitor.print_lines()
    params = " ".join(f"{name}={value:.5g}" for name, value in polls[0].params.items())
    shown = capsys.readouterr().err.splitlines()
    assert shown[:3] == [
        "agent 0 is starting",
        f"trial 0 started: {params}",
        "trial 0: step 0, validation/loss_of_the_ensemble 0.5",
    ]
    assert shown[3].startswith("trial 0 finished: ")
    assert shown[4].startswith("1/1000 trials")
    assert len(shown) == 5


def test_a_terminal_has_a_line_for_each_running_trial(tmp_path):
    controller = create_sweep(load_sweep(CONFIG), tmp_path)
    for number in range(2):
        controller.report(controller.ask("a"), 7, {CONFIG["metric"]["name"]: number})
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    make_monitor(lambda: open_sweep(tmp_path), console=console).draw_bar()
    for number in range(2):
        assert f"trial {number}: step 7, validation/loss_of_the_ensemble {number}" in out.getvalue()


def test_notes_follow_the_lines_of_a_pipe(run_trials, capsys):
    results = [run_trials(), run_trials([0.5])]
    make_monitor(lambda: results.pop(0), lambda data: ["that was quick"]).print_lines()
    assert capsys.readouterr().err.rstrip().endswith("\nNote: that was quick")
