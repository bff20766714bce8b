"""A trial's value: the best or the last that it reported, with its step, its checkpoint, and what speaks against it."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.configurations import RANDOM
from wandbsweep import Outcome, SweepConfigError, SweepError, create_sweep, load_sweep, open_sweep
from wandbsweep.controllers.hosted.doctor import check_supported
from wandbsweep.results.analysis.trial_matrix import build_trial_matrix
from wandbsweep.results.checkpoints import find_checkpoint_of_step
from wandbsweep.results.doubts import describe_doubt
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.search.bayes.curves import read_curve

PLAIN = RANDOM | {"metric": {"name": "val/loss"}, "run_cap": 9}
LUCKY = [0.9, 0.7, 0.6, 0.003, 0.55, 0.5]
STEADY = [0.9, 0.6, 0.4, 0.3, 0.25, 0.2]


@pytest.fixture
def make_sweep(tmp_path, monkeypatch):
    """Makes the sweep ``outputs/abcd1234``, with a curve for each trial and the state in which it ends."""
    monkeypatch.chdir(tmp_path)

    def make(*curves, states=(), **metric):
        config = PLAIN | {"metric": {"name": "val/loss", **metric}}
        controller = create_sweep(load_sweep(config), "outputs/abcd1234", seed=0)
        for curve, state in zip(curves, [*states, *["finished"] * len(curves)], strict=False):
            trial = controller.ask("a")
            for step, value in enumerate(curve):
                controller.report(trial, step, {"val/loss": value, "size": float(step)})
            controller.complete(trial, Outcome("stopped", "a rule") if state == "stopped" else Outcome.finished())
        return open_sweep("outputs/abcd1234")

    return make


class TestByBestAndByLast:
    def test_in_python(self, make_sweep):
        results = make_sweep(LUCKY, STEADY, [0.3, math.nan])
        assert [(t.value, results.find_step(t)) for t in results.trials] == [(0.003, 3), (0.2, 5), (0.3, 0)]
        assert [trial.last for trial in results.trials[:2]] == [0.5, 0.2]
        assert results.best.number == 0
        frame = results.frame
        assert list(frame["step"]) == [3, 5, 0]
        assert list(frame["last"])[:2] == [0.5, 0.2]
        by_last = open_sweep("outputs/abcd1234", by="last")
        assert type(by_last) is type(results)
        assert by_last == results.rank_by("last")
        assert [(t.value, by_last.find_step(t)) for t in by_last.trials] == [(0.5, 5), (0.2, 5), (None, None)]
        assert by_last.best.number == 1
        assert list(build_trial_matrix(by_last).values) == [0.5, 0.2]
        assert by_last.rank_by("best").trials == results.trials
        with pytest.raises(SweepError, match="The value of `by` is 'mean', but must be best or last"):
            open_sweep("outputs/abcd1234", by="mean")

    def test_in_a_terminal(self, make_sweep, run_command):
        make_sweep(LUCKY, STEADY)
        header, first, second = (line.split() for line in run_command("table").splitlines())
        assert header[:6] == ["trial", "state", "val/loss", "step", "last", "steps"]
        assert first[2:6] == ["0.003", "3", "0.5", "6"]
        assert second[2:6] == ["0.2", "5", "0.2", "6"]
        best = run_command("best")
        assert "Best: trial 0, val/loss 0.003 at step 3 of 5, last 0.5" in best
        assert "Best: trial 1, val/loss 0.2 at step 5, its last" in run_command("best", "--by", "last")
        assert run_command("table", "--by", "last").split()[2:5] == ["last", "val/loss", "step"]
        found = json.loads(run_command("best", "--json"))
        assert (found["metric"], found["step"], found["last"], found["checkpoint"]) == (0.003, 3, 0.5, None)
        assert [row["last"] for row in json.loads(run_command("table", "--json"))] == [0.5, 0.2]
        assert json.loads(run_command("best", "--json", "--by", "last"))["number"] == 1
        page = Path(run_command("report", "--by", "last").strip()).read_text().replace(" ", "")
        assert '"best":[{"n":1' in page

    def test_a_sweep_that_searches_by_last(self, make_sweep):
        results = make_sweep(LUCKY, STEADY, [0.1, math.nan], value="last")
        assert [(t.value, results.find_step(t)) for t in results.trials] == [(0.5, 5), (0.2, 5), (None, None)]
        assert results.best.number == 1
        assert results.rank_by("best").best.number == 0
        assert list(read_curve(results.trials[0], 1.0, "last").best) == LUCKY
        assert read_curve(results.trials[0], 1.0).value == 0.003
        assert results.spec.identity["metric"] == "minimize val/loss, its last value"

    def test_what_a_sweep_file_may_say(self):
        for value, rule in (("mean", "best or last"), (1, "best or last")):
            with pytest.raises(SweepConfigError, match=rf"metric.value: .*{rule}"):
                load_sweep(PLAIN | {"metric": {"name": "loss", "value": value}})
        assert (
            load_sweep(PLAIN).identity == load_sweep(PLAIN | {"metric": {"name": "val/loss", "value": "best"}}).identity
        )
        with pytest.raises(SweepConfigError, match=r"metric.value: an extension"):
            check_supported(load_sweep(PLAIN | {"metric": {"name": "loss", "value": "last"}}))


class TestDoubts:
    def test_a_lone_point_and_another_winner_by_last(self, make_sweep, run_command):
        line = describe_doubt(make_sweep(LUCKY, STEADY))
        assert "step 3 stands alone in its curve, between 0.6 and 0.55" in line
        assert "by its last value trial 1 leads (0.2)" in line
        assert "wandbsweep best abcd1234 --by last" in line
        assert line in run_command("best")
        assert json.loads(run_command("best", "--json"))["doubt"] == line

    def test_a_stopped_trial(self, make_sweep, run_command, monkeypatch):
        line = describe_doubt(make_sweep([0.9, 0.5, 0.1], STEADY, states=["stopped"]))
        assert line.startswith("Trial 0 is in doubt: it was stopped at step 2")
        assert "evaluate" in line
        assert "Train it again" not in run_command("best")  # Hydra did not start this sweep
        monkeypatch.setattr(SweepData, "command", lambda _, trial: f"python train.py n={trial.number}")
        best = run_command("best")
        assert (
            "Train it again:\n  python train.py n=0\nIf the training is seeded, it has val/loss 0.1 at step 2" in best
        )
        assert "the sweep stopped this one at step 2" in best
        runner_up = "The best that finished is trial 1, val/loss 0.2 at step 5, its last. Train it again:"
        assert f"{runner_up}\n  python train.py n=1\n" in best

    @pytest.mark.parametrize("curve", [STEADY, [0.9, 0.5, 0.2, 0.1, 0.11, 0.12, 0.13], [0.1], [0.3, 0.1, 0.2]])
    def test_none(self, make_sweep, curve):
        assert describe_doubt(make_sweep(curve)) == ""


class TestCheckpoints:
    def test_lightning(self, tmp_path):
        for name, epoch in (("best", 3), ("last", 5), ("other", 3)):
            written = {"pytorch-lightning_version": "2.6", "epoch": epoch, "global_step": 10 * (epoch + 1)}
            (tmp_path / "checkpoints").mkdir(exist_ok=True)
            torch.save({**written, "state_dict": {"w": torch.ones(3)}}, tmp_path / "checkpoints" / f"{name}.ckpt")
        (tmp_path / "damaged.ckpt").write_bytes(b"PK")
        assert find_checkpoint_of_step(tmp_path, 3, range(6)) == tmp_path / "checkpoints" / "best.ckpt"
        assert find_checkpoint_of_step(tmp_path, 5, range(6)) == tmp_path / "checkpoints" / "last.ckpt"
        assert find_checkpoint_of_step(tmp_path, 4, range(6)) is None
        assert find_checkpoint_of_step(tmp_path, 40, range(10, 70, 10)) == tmp_path / "checkpoints" / "best.ckpt"

    def test_what_is_not_of_lightning_says_its_step(self, tmp_path, make_sweep, run_command):
        results = make_sweep(LUCKY)
        directory = results.trial_directory(results.best)
        directory.mkdir()
        torch.save({"epoch": 3}, directory / "a.pt")
        np.savez(directory / "b.npz", step=4)
        assert results.find_checkpoint(results.best) is None
        np.savez(directory / "best.npz", step=3)
        assert json.loads(run_command("best", "--json"))["checkpoint"] == str(directory / "best.npz")
        assert re.search(r"Checkpoint of step 3: .*best.npz", run_command("best"))

    def test_nothing_of_it_is_executed(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "executed",))

        torch.save({"step": 3, "bomb": Bomb()}, tmp_path / "a.pt")
        assert find_checkpoint_of_step(tmp_path, 3, [3]) == tmp_path / "a.pt"
        assert not (tmp_path / "executed").exists()
