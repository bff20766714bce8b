"""Live progress: what it says of a trial, and that it fits the terminal."""

import io
import math
import threading

import pytest
from rich.console import Console

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep
from wandbsweep.launch import monitor

CONFIG = RANDOM | {"metric": {"name": "validation/loss_of_the_ensemble"}, "run_cap": 1000}


@pytest.fixture
def made(tmp_path):
    """A sweep whose trials report these values."""

    def made(*trials):
        controller = create_sweep(load_sweep(CONFIG), tmp_path)
        for values in trials:
            trial = controller.ask("a")
            for step, value in enumerate(values):
                controller.report(trial, step, {CONFIG["metric"]["name"]: value})
            controller.complete(trial, Outcome.finished())
        return open_sweep(tmp_path)

    return made


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5, 0.25], "finished: validation/loss_of_the_ensemble 0.25, 2 steps, "),
        ([0.5], "finished: validation/loss_of_the_ensemble 0.5, 1 step, "),
        ([math.nan], "finished: no finite value of validation/loss_of_the_ensemble, 1 step, "),
    ],
)
def test_how_a_trial_ended(made, values, said):
    results = made(values)
    assert monitor.describe(results.trials[0], results).startswith(said)


def test_a_narrow_terminal_has_the_count_and_the_times_in_full(made):
    results = made([0.123456])
    out = io.StringIO()
    done = threading.Event()
    done.set()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    monitor._bar(lambda: results, 1000, done, console=console)
    line = next(line for line in out.getvalue().splitlines() if "1/1000" in line and "finished" in line)
    assert "0:00:0" in line
    assert line.count("…") == 1
    assert line.rstrip().endswith("…")


@pytest.mark.parametrize("width", [80, 200])
def test_notes_stand_above_the_bar(made, width):
    results, out, done = made([0.5]), io.StringIO(), threading.Event()
    done.set()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    monitor._bar(lambda: results, 1000, done, lambda seen: [f"[{len(seen.trials)}] is few"], console)
    assert "Note: [1] is few" in out.getvalue()


def test_the_picture_makes_room_for_what_comes_after_it(made):
    results, out, done = made([0.5, 0.25]), io.StringIO(), threading.Event()
    done.set()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    monitor._picture(
        lambda: results, 1000, done, lambda seen: ["that was quick"], console, standing=lambda seen: ["Paused"]
    )
    text = out.getvalue()
    assert "1/1000 trials" in text
    assert "Paused" in text
    assert text.index("Note: that was quick") < text.index("1/1000 trials")
    assert text.endswith("\x1b[2K")  # every line of it is erased


def test_notes_follow_the_lines_of_a_pipe(made, capsys):
    results = [made(), made([0.5])]
    done = threading.Event()
    done.set()
    monitor._lines(lambda: results.pop(0), 1000, done, lambda seen: ["that was quick"])
    assert capsys.readouterr().err.rstrip().endswith("\nNote: that was quick")
