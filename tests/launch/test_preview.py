"""``wandbsweep preview``, and what previews warn of."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from wandbsweep.cli.main import main
from wandbsweep.launch.preview_examples import count_configurations, propose_examples
from wandbsweep.launch.preview_warnings import describe_disk, find_warnings
from wandbsweep.spec.load import load_sweep
from wandbsweep.sweep.launch_record import ControllerOptions

FILE = """
program: train.py
method: grid
run_cap: 20
command: ["${interpreter}", "${program}", "${args_no_hyphens}", "${args_json_file}"]
parameters:
  lr: {values: [0.1, 0.2]}
  model: {parameters: {width: {values: [1, 2, 3]}}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train.py").write_text("import wandb\n")
    (tmp_path / "sweep.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_a_sweep_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "sweep.yaml", "--agents", "3"]) == 0
    shown = capsys.readouterr().out
    assert f"trial 0: {sys.executable} train.py lr=0.1 'model={{'\"'\"'width'\"'\"': 1}}'" in shown
    assert f"{project}/outputs/ID/0/params.json" in shown
    assert "grid size: 6 configurations" in shown
    assert "6 example trials (the sweep starts with these)" in shown
    assert "local: 3 jobs" in shown
    assert "run_cap 20 is beyond the grid, which has 6 trials" in shown

    assert main(["preview", "sweep.yaml", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["trials"][5]["params"] == {"lr": 0.2, "model.width": 3}
    assert data["configurations"] == 6

    assert main(["preview", "nothing.yaml"]) == 2
    assert main(["preview", "sweep.yaml", "--detach"]) == 2
    assert sorted(path.name for path in project.iterdir()) == ["sweep.yaml", "train.py"]


@pytest.mark.parametrize(
    ("config", "trial", "warning"),
    [
        ({"method": "random", "run_cap": 9}, {}, "the space has only 4 configurations"),
        ({"method": "grid", "run_cap": 2}, {}, "run_cap 2 ends the grid before its 4 trials"),
        (
            {"method": "bayes", "run_cap": 2, "early_terminate": {"type": "hyperband", "min_iter": 9}},
            {"trainer.max_epochs": 9},
            "first compares trials at report 9, but trainer.max_epochs is 9",
        ),
        ({"method": "bayes", "run_cap": 2}, {"trainer.max_epochs": 9}, ""),
    ],
)
def test_warnings(config: dict[str, object], trial: dict[str, object], warning: str) -> None:
    space = {"a": {"values": [1, 2]}, "b": {"min": 0, "max": 1, "distribution": "int_uniform"}}
    spec = load_sweep({"metric": {"name": "loss"}, "parameters": space, **config})
    found = find_warnings(spec, count_configurations(spec), trial=trial)
    assert [warning in text for text in found] == ([True] if warning else [])


def test_the_disk_that_trials_like_earlier_ones_would_need(project: Path) -> None:
    earlier = project / "outputs" / "earlier"
    (earlier / "0").mkdir(parents=True)
    (earlier / "sweep.yaml").touch()
    with (earlier / "0" / "last.ckpt").open("wb") as file:
        file.truncate(3_000_000)  # takes no room
    lines, warnings = describe_disk(project / "outputs" / "new", 10)
    assert "trials of earlier, the newest sweep here, have 3 MB each; 10 trials of that size: 30 MB" in lines
    assert warnings == []
    assert "but only" in describe_disk(project / "outputs" / "new", 10**12)[1][0]


def test_examples_of_every_method() -> None:
    space = {"a": {"min": 0.0, "max": 1.0}, "seed": {"values": [1, 2]}}
    for method in ("random", "bayes", "custom"):
        metric = {"name": "loss"}
        spec = load_sweep({"method": method, "metric": metric, "parameters": space, "run_cap": 4})
        for hosted in (False, True):
            trials = propose_examples(spec, ControllerOptions(seed=1), 10, hosted=hosted)
            assert len(trials) == 4
            assert len({trial["a"] for trial in trials}) == 4
        assert count_configurations(spec) is None
