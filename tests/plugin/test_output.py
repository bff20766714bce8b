"""What the launching terminal shows from the first second, and where what the trials print goes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.applications import App

APP = """
import logging, os
import hydra
from wandbsweep import current_trial

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    logging.getLogger(__name__).info("logged")
    print("printed")
    os.system("echo by a child")
    current_trial().report(0, {"loss": cfg.lr})

if __name__ == "__main__":
    main()
"""

SPACE = ["+lr=interval(0,1)", "++sweep.method=random", "++sweep.run_cap=1", "++sweep.metric.name=loss"]


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "app.py").write_text(APP)
    return App(tmp_path)


def test_a_training_prints_as_without_a_sweep(app: App) -> None:
    ended = app.multirun(*SPACE)
    assert [line for line in ended.out.splitlines() if line.endswith(("logged", "printed", "by a child"))][1:] in (
        ["printed", "by a child"],
        ["by a child", "printed"],  # Python keeps back what it prints to a pipe
    )
    assert "#0" not in ended.out + ended.err
    shown = [line for line in ended.err.splitlines() if "Note: " not in line]
    assert all(re.match(r"agent 0 |trial 0 |1/1 trials · ", line) for line in shown), shown
    assert shown[0] == "agent 0 is starting"
    assert shown[-1].startswith("1/1 trials · 1 finished")


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_the_log_gets_what_trials_print(app: App, isolation: str) -> None:
    ended = app.multirun(*SPACE, "hydra.sweeper.output=log", f"hydra.sweeper.isolation={isolation}")
    log = (app.directory / "sweep" / "0" / "app.log").read_text().splitlines()
    assert [sum(line.endswith(text) for line in log) for text in ("logged", "printed", "by a child")] == [1, 1, 1]
    assert not any(text in ended.out + ended.err for text in ("logged", "printed", "by a child"))
    start = "agent 0 is starting" + (" (importing app.py)" if isolation == "process" else "")
    assert f"{start}\n" in ended.err
    assert "\ntrial 0 finished: loss " in ended.err


def test_a_sweep_far_from_its_project_is_found_by_its_id(app: App, tmp_path_factory: pytest.TempPathFactory) -> None:
    far = tmp_path_factory.mktemp("far")
    app.multirun(*SPACE, "hydra.sweeper.output=log", into=str(far / "any"))
    wandbsweep = [sys.executable, "-m", "wandbsweep.cli"]
    (sweep,) = json.loads(app.shell([*wandbsweep, "list", "--json"]).out)
    assert (sweep["state"], sweep["trials"], sweep["directory"]) == ("finished", 1, str(far / "any"))
    for directory in (app.directory, far):
        log = App(directory).shell([*wandbsweep, "logs", sweep["sweep_id"], "0"]).out
        assert log == (far / "any" / "0" / "app.log").read_text()
    assert "have logged nothing" in app.shell([*wandbsweep, "logs", sweep["sweep_id"]]).err  # no trial was lost
    app.multirun(f"hydra.sweeper.sweep_id={sweep['sweep_id']}", "++sweep.run_cap=2", into=None)
    assert (far / "any" / "1" / "app.log").exists()
