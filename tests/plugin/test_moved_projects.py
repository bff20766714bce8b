"""Projects and sweeps that are moved, renamed or copied between launch and resume."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.applications import App, Ended
from wandbsweep.agent.task import AgentTask
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.load import load_sweep
from wandbsweep.sweep.directory import write_spec
from wandbsweep.sweep.launch_record import Application, ControllerOptions, LaunchRecord, TrialOverrides

SPACE = ["hydra.sweeper.storage=sqlite:///trials.db", "x=interval(0.0,1.0)"]
SPACE += ["+hydra.sweeper.sweep={method: random, run_cap: 1, metric: {name: v}}"]
SCRIPT = """
import os
import hydra
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print("RAN in", os.getcwd())
    return cfg.x
if __name__ == "__main__":
    main()
"""

Command = Callable[..., Ended]


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "old/conf").mkdir(parents=True)
    (tmp_path / "old/conf/config.yaml").write_text("x: 0")
    (tmp_path / "old/app.py").write_text(SCRIPT)
    return App(tmp_path / "old")


@pytest.mark.slow  # which records follow is tested below
def test_a_moved_project(app: App) -> None:
    """The whole project is renamed, then copied; then the sweep leaves it, and the project is renamed again."""
    app.multirun(*SPACE, into=None)
    sweep_id = next((app.directory / "outputs").iterdir()).name
    root = app.directory.parent

    def join(directory: Path, run_cap: int, *arguments: str) -> Ended:
        here = App(directory)
        joining = [f"hydra.sweeper.sweep_id={sweep_id}", f"++hydra.sweeper.sweep.run_cap={run_cap}", *arguments]
        ended = here.multirun(*joining, into=None)
        assert f"RAN in {directory}\n" in ended.out
        return ended

    app.directory.rename(root / "new")
    best = App(root / "new").shell(f"wandbsweep best {sweep_id}")
    assert "app.py x=" in best.out
    assert "cd " not in best.out
    said = join(root / "new", 2)
    assert f"The project was moved from {root}/old: trials run in {root}/new now." in said.out
    assert "was moved" not in join(root / "new", 3).out

    shutil.copytree(root / "new", root / "copy")
    assert f"moved from {root}/new: trials run in {root}/copy" in join(root / "copy", 4).out
    assert [len(App(root / name).sweep(f"outputs/{sweep_id}").trials) for name in ("new", "copy")] == [3, 4]

    (root / "copy/outputs" / sweep_id).rename(root / "kept")
    assert "was moved" not in join(root / "copy", 5, f"hydra.sweep.dir={root}/kept").out
    (root / "copy").rename(root / "newest")
    assert f"trials run in {root}/newest now" in join(root / "newest", 6, f"hydra.sweep.dir={root}/kept").out
    assert App(root).states("kept") == ["finished"] * 6


def test_an_agent_asks_for_no_trial_without_the_project(tmp_path: Path) -> None:
    record = LaunchRecord("abcd1234", Application("/nonesuch", None, "app", ["app"]), TrialOverrides([], []))
    record.save(tmp_path)
    write_spec(tmp_path, load_sweep({"method": "grid", "parameters": {"x": {"values": [1]}}}))
    with pytest.raises(SweepDirectoryError, match=r"^/nonesuch, in which the sweep's trials run, does not exist here"):
        AgentTask(tmp_path, lambda config: None, None, None)(None)


@pytest.mark.parametrize(
    ("command", "script", "place", "followed"),
    [
        (["python", "app.py"], "app.py", "outputs/abcd1234", True),
        (["python", "{old}/app.py"], "app.py", "outputs/abcd1234", True),
        (["python", "app.py"], "other.py", "outputs/abcd1234", False),
        (["python", "-m", "pkg.app"], "other.py", "outputs/abcd1234", True),
        (["python", "app.py"], "app.py", "elsewhere/abcd1234", False),
    ],
)
def test_which_records_follow_their_project(
    tmp_path: Path, command: list[str], script: str, place: str, followed: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (new / place).mkdir(parents=True)
    for name in (script, "sweep.db"):
        (new / name).touch()
    application = Application(str(old), None, "app", [word.format(old=old) for word in command])
    storage = ControllerOptions(storage=f"sqlite:///{old}/sweep.db")
    record = LaunchRecord("abcd1234", application, TrialOverrides([], []), controller=storage)
    for stored in (record, replace(record, directory=f"{old}/outputs/abcd1234")):
        stored.save(new / place)
        loaded = LaunchRecord.load(new / place)
        assert loaded.application.cwd == str(new if followed else old)
        assert loaded.controller.storage == f"sqlite:///{new if followed else old}/sweep.db"
        assert loaded.application.command[-1] == command[-1].format(old=new if followed else old)
