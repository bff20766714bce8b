"""``wandbsweep.optimize``: a sweep over a Python function, in this process and in others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wandbsweep
from wandbsweep import SweepConfigError, SweepError

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
GRID = {"method": "grid", "metric": {"name": "loss"}, "parameters": {"opt.lr": {"values": [1, 2, 3]}}}


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    results = wandbsweep.open_sweep("outputs/first")
    assert len(results.trials) == 12
    assert {trial.state for trial in results.trials} == {"finished", "stopped"}
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    shown = capsys.readouterr()
    assert "12/12 trials" in shown.err
    assert f"{results.best.number} {results.best.value} {dict(results.best.params)}" in shown.out


def test_the_returned_number_is_the_value_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    results = wandbsweep.optimize(lambda params: params["opt.lr"] ** 2, GRID, progress=False)
    assert {trial.params["opt.lr"]: trial.value for trial in results.trials} == {1: 1.0, 2: 4.0, 3: 9.0}
    assert results.best.number == 0
    assert repr(results).splitlines()[1].split() == ["0", "finished", "1", "-", "1", "0", "0.0s", "1"]
    assert repr(results).endswith("3/3 trials · 3 finished · best loss 1 (trial 0)")
    assert "<td>finished</td>" in results._repr_html_()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_is_resumed_and_extended(tmp_path, capsys):
    sweep = {"method": "random", "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    first = wandbsweep.optimize(lambda params: params["x"], sweep, tmp_path / "a b", run_cap=2)
    both = wandbsweep.optimize(lambda params: params["x"], sweep, tmp_path / "a b", run_cap=4)
    assert [trial.value for trial in both.trials[:2]] == [trial.value for trial in first.trials]
    assert len(both.trials) == 4
    assert "4/4 trials" in capsys.readouterr().err


@pytest.mark.parametrize("agents", [1, 2])
def test_failures_end_the_sweep_with_a_traceback(tmp_path, agents):
    def fail(params):
        raise ValueError("no such dataset")

    # More points than two agents try before the sweep is aborted.
    grid = GRID | {"parameters": {"opt.lr": {"values": list(range(12))}}}
    with pytest.raises(SweepError, match=r"(?s)Trial \d: ValueError: no such dataset.*in fail\n"):
        wandbsweep.optimize(fail, grid, tmp_path, agents=agents, max_failures=2, progress=False)
    results = wandbsweep.optimize(lambda params: params["opt.lr"], grid, tmp_path, agents=agents, progress=False)
    assert any(trial.state == "finished" for trial in results.trials)


def test_a_process_that_dies_does_not_take_the_sweep_along(tmp_path):
    arguments = list(sys.argv)

    def train(params):
        trial = wandbsweep.current_trial()
        assert sys.argv == arguments
        if trial.number == 1 and not trial.resumed:
            (trial.directory / "last.pt").write_text("weights")
            os.kill(os.getpid(), signal.SIGKILL)
        return params["opt.lr"] if (trial.number == 1) == (trial.checkpoint is not None) else None

    results = wandbsweep.optimize(train, GRID, tmp_path, agents=2, progress=False)
    assert [trial.state for trial in results.trials] == ["finished"] * 3
    assert results.trials[1].attempts == 2


@pytest.mark.parametrize("agents", [1, 2])
def test_frozen_trials_resume_from_their_checkpoints_even_if_they_are_killed(tmp_path, agents):
    def train(params):
        trial = wandbsweep.current_trial()
        file = trial.directory / "last.pt"
        for epoch in range(int(file.read_text()) if trial.checkpoint else 0, 8):
            if epoch == 5 and agents == 2 and not (trial.directory / "killed").exists():
                (trial.directory / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (trial.directory / "epochs").open("a") as epochs:
                epochs.write(f"{epoch} ")
            file.write_text(str(epoch + 1))
            if trial.report(epoch, {"loss": abs(params["x"] - 0.3) + 1 / (epoch + 1)}).stop:
                assert trial.preempted
                return None
        return -1.0

    sweep = {
        "method": "bayes",
        "metric": {"name": "loss"},
        "early_terminate": {"type": "thaw", "min_iter": 1, "max_iter": 8},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "run_cap": 8,
    }
    results = wandbsweep.optimize(train, sweep, tmp_path, agents=agents, progress=False, seed=0)
    assert len(results.trials) == 8
    assert {trial.state for trial in results.trials} == {"finished", "frozen"}
    assert sum(trial.thaws for trial in results.trials) > 0
    assert results.best.state == "finished"
    for trial in results.trials:
        directory = results.trial_directory(trial)
        assert (directory / "epochs").read_text().split() == [str(step) for step in sorted(trial.reports)]
        assert list(trial.reports) == list(range(len(trial.reports)))
        assert trial.attempts == 1 + (directory / "killed").exists()
    frozen = sum(trial.state == "frozen" for trial in results.trials)
    assert f"{8 - frozen} finished · {frozen} frozen" in repr(results)


@pytest.mark.parametrize("agents", [1, 2])
def test_ctrl_c_gives_trials_back(tmp_path, agents):
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import pathlib, time, wandbsweep

def train(params):
    pathlib.Path(str(wandbsweep.current_trial().number)).touch()
    time.sleep(60 if params["opt.lr"] > 1 else 0)
    return 1

if __name__ == "__main__":
    wandbsweep.optimize(train, {GRID!r}, "sweep", agents={agents})
""",
        encoding="utf-8",
    )
    process = subprocess.Popen([sys.executable, script], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    while not all((tmp_path / str(number)).exists() for number in range(1 + agents)):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=40)
    assert process.returncode == -signal.SIGINT, errors.decode()
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")
    states = [trial.state for trial in wandbsweep.open_sweep(tmp_path / "sweep").trials]
    assert states == ["finished"] + ["queued"] * agents


def test_wrong_calls_are_refused_before_anything_is_made(tmp_path):
    endless = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    with pytest.raises(SweepConfigError, match="nothing else would end this random sweep; add run_cap"):
        wandbsweep.optimize(print, endless, tmp_path / "sweep")
    with pytest.raises(SweepConfigError, match="did you mean"):
        wandbsweep.optimize(print, {**endless, "run_kap": 3}, tmp_path / "sweep")
    with pytest.raises(SweepError, match="The value of agents is 0, but must be"):
        wandbsweep.optimize(print, GRID, tmp_path / "sweep", agents=0)
    assert list(tmp_path.iterdir()) == []


def test_a_controller_is_created_from_a_mapping_and_asked_without_a_name():
    controller = wandbsweep.create_sweep(GRID)
    assert [dict(controller.ask().params) for _ in range(3)] == [{"opt.lr": 1}, {"opt.lr": 2}, {"opt.lr": 3}]
    controller.close()
