"""The projects of ``examples/``: short, complete, and swept as their README says."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.applications import App
from wandbsweep import open_sweep
from wandbsweep.current import DIRECTORY, CurrentTrial, running
from wandbsweep.trial import CONTINUE, Decision

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "outputs")

REPORTS = {"lightning": 2, "pytorch": 2, "scikit_learn": 0, "function": 40}
"""How often a whole training reports, with ``epochs=2`` where an example has epochs."""

# One process, which imports torch once; each sweep runs in a fork of it, in the directory of its example. What needs no
# torch cannot import it.
RUN_ALL = """
import functools, json, os, runpy, sys
from types import SimpleNamespace
import wandbsweep

def refuse_torch(name, *_):
    if name == "torch":
        raise ImportError("torch is imported")

wandbsweep.optimize = functools.partial(wandbsweep.optimize, run_cap=2)
for name, command in json.loads(sys.argv[1]).items():
    if "torch" in open(f"{name}/train.py").read().replace("without torch", ""):
        import lightning.pytorch
    if os.fork() == 0:
        os.chdir(name)
        sys.argv = command
        sys.path[0] = ""
        if "torch" not in sys.modules:
            sys.meta_path.insert(0, SimpleNamespace(find_spec=refuse_torch))
        runpy.run_path("train.py", run_name="__main__")
        sys.exit()
    if os.wait()[1]:
        sys.exit(f"failed: {name}")
"""


def read_commands() -> dict[str, list[str]]:
    """The command that the README names for each example."""
    rows = re.findall(r"^\| \[(\w+)\]\(.*\| `python (.*)` \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    return {name: command.split() for name, command in rows}


def test_each_is_in_the_readme_and_under_40_lines() -> None:
    assert sorted(read_commands()) == NAMES
    for name in NAMES:
        for file in (EXAMPLES / name).rglob("*.py"):
            assert len(file.read_text().splitlines()) < 40, file


def test_each_is_swept(tmp_path: Path) -> None:
    for name in NAMES:
        shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    commands = {}
    for name, command in sorted(read_commands().items(), key=lambda item: REPORTS[item[0]] == 2):  # torch last
        epochs = ["epochs=2"] if REPORTS[name] == 2 else []
        commands[name] = [*command, "++sweep.run_cap=2", *epochs] if "-m" in command else command
    ended = App(tmp_path).shell([sys.executable, "-c", RUN_ALL, json.dumps(commands)])
    assert ended.status == 0, ended
    for name in NAMES:
        (sweep,) = (tmp_path / name / "outputs").iterdir()
        results = open_sweep(sweep)
        assert len(results.trials) == 2, name
        assert {trial.state for trial in results.trials} <= {"finished", "stopped"}, name
        assert results.trials[0].value is not None
        assert len(results.trials[0].reports) == REPORTS[name]


def test_the_pytorch_loop_resumes_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = runpy.run_path(str(EXAMPLES / "pytorch" / "train.py"))["main"].__wrapped__
    cfg = SimpleNamespace(seed=0, hidden=16, lr=0.01, epochs=6)

    def run(directory: str, *, resumed: bool = False, until: int = 5) -> list[Any]:
        (tmp_path / directory).mkdir(exist_ok=True)
        monkeypatch.setenv(DIRECTORY, str(tmp_path / directory))
        seen = []
        trial = CurrentTrial(number=0, resumed=resumed, send=lambda *report: seen.append(report) or answer(report[0]))

        def answer(epoch: int) -> Decision:
            if epoch == until < 5:
                trial.interrupt("SIGTERM")
            return CONTINUE

        with running(trial):
            train(cfg)
        return seen

    whole = run("whole")
    assert len(whole) == 6
    first, rest = run("parts", until=2), run("parts", resumed=True)
    assert [step for step, _ in rest] == [3, 4, 5]
    assert first + rest == whole
