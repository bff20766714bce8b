"""Hosted sweeps with agents in submitit's jobs, several ranks and another machine; and detached sweeps."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.hosted.artifacts import ArtifactServer
from tests.hosted.parts import QUICK_CLIENT, add_sweep, find_key, wait_until
from tests.hosted.server import WandbServer
from wandbsweep import open_sweep
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.trial import ENDED

APPS = Path(__file__).parents[1] / "apps"
SWEEPER = ["-m", "hydra/sweeper=wandbsweep"]
HOSTED = [*SWEEPER, "hydra.sweeper.controller=wandb"]
TWO_AGENTS = ["hydra/launcher=submitit_local", "hydra.sweeper.agents=2"]
TWO_TASKS = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]
GRID = {"method": "grid", "metric": {"name": "loss"}, "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}}}


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with ArtifactServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK_CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def start_app(app: str, place: Path, *arguments: str) -> Popen[str]:
    """Start a copy of the application in ``place``."""
    shutil.copytree(APPS / app, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    return Popen([sys.executable, "app.py", *arguments], cwd=place, stdout=PIPE, stderr=PIPE, text=True)


def run(app: str, place: Path, *arguments: str) -> str:
    process = start_app(app, place, *arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    return out + err


def test_agents_that_are_jobs_of_submitit(server: WandbServer, home: Path) -> None:
    """Their pickles, logs and environments do not contain the API key."""
    output = run("tiny", home / "tiny", *HOSTED, "sweep=macros", *TWO_AGENTS)
    (sweep_id,) = server.sweeps
    runs = server.list_runs(sweep_id)
    results = open_sweep(home / "tiny" / "outputs" / sweep_id)
    assert results.counts == {"finished": 2}
    by_number = {run.facts["displayName"]: run for run in runs}
    assert (len(runs), sorted(by_number)) == (2, [f"{sweep_id}-{n}" for n in range(2)])
    for trial in results.trials:
        run_there = by_number[f"{sweep_id}-{trial.number}"]
        assert (run_there.state, run_there.exitcode, run_there.params) == ("finished", 0, trial.params)
        assert run_there.values("loss") == list(trial.reports.values())
    assert list((results.directory / ".submitit").rglob("*submitted.pkl"))
    assert find_key(home, output) == []


@pytest.mark.slow  # tests/plugin/test_ddp.py has the ranks, and test_conformance.py the stop
def test_a_stop_reaches_both_ranks_of_a_trial_at_the_same_step(server: WandbServer, home: Path) -> None:
    """Two tasks of a job, one run at W&B."""
    trial = home / "ddp" / "sweep" / "0"
    process = start_app(
        "ddp", home / "ddp", *HOSTED, "sweep=grid", "+sweep.run_cap=1", *TWO_TASKS,
        "hydra.sweep.dir=sweep", "act=wait", "epochs=40", "~sweep.early_terminate",
    )  # fmt: skip
    try:
        wait_until(lambda: all((trial / f"rank{rank}.jsonl").exists() for rank in (0, 1)), within_s=60)
        (only,) = server.runs.values()
        only.stop = True
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    results = open_sweep(home / "ddp" / "sweep")
    ((state, reason, reports),) = [(t.state, t.reason, t.reports) for t in results.trials]
    assert (state, reason) == ("stopped", "W&B stopped the run"), err[-3000:]
    assert (only.state, only.begun) == ("finished", 1)
    assert only.values("loss") == list(reports.values())
    steps = [json.loads((trial / f"rank{rank}.jsonl").read_text().splitlines()[-1])["ended"] for rank in (0, 1)]
    assert steps == [4 * len(reports)] * 2
    assert steps[0] < 160
    assert find_key(home, err) == []


def test_joining_a_sweep_from_another_machine(server: WandbServer, home: Path) -> None:
    """As with ``wandb agent``, the search space comes from W&B, and everything else from this checkout."""
    sweep_id = add_sweep(server, {**GRID, "program": "app.py", "name": None})
    path = f"hydra.sweeper.sweep_id=team/digits/{sweep_id}"
    here = run("tiny", home / "here", *HOSTED, path, "hydra.sweeper.count=1", "seed=3")
    there = run("tiny", home / "there", *HOSTED, path)
    assert f"Joined sweep {sweep_id}: grid over 1 parameter, minimize loss" in here
    assert f"hydra.sweeper.controller=wandb {path}" in here
    counted, seeds = [], []
    for place in ("here", "there"):
        results = open_sweep(home / place / "outputs" / sweep_id)
        counted.append(results.counts)
        first = json.loads((results.directory / "0" / "result.json").read_text())
        seeds.append(first["cfg"]["seed"])
    assert (counted, seeds) == ([{"finished": 1}, {"finished": 2}], [3, 0])
    runs = server.list_runs(sweep_id)
    assert sorted(run.params["lr"] for run in runs) == [0.1, 0.2, 0.3]
    assert [(run.state, run.facts["displayName"]) for run in runs] == [("finished", run.name) for run in runs]
    assert "Nothing" not in there
    results = open_sweep(f"wandb:team/digits/{sweep_id}")
    assert [trial.value for trial in results.ranked] == pytest.approx([0.2, 0.4, 0.6])


def test_joining_late_is_no_failure(server: WandbServer, home: Path) -> None:
    sweep_id = add_sweep(server, {**GRID, "program": "app.py", "name": None})
    other = server.on_CreateAgent("other", sweep_id)["createAgent"]["agent"]["id"]
    for _ in range(3):
        server.on_Heartbeat(other)
    message = run("tiny", home / "late", *HOSTED, f"hydra.sweeper.sweep_id=team/digits/{sweep_id}")
    assert "No trial was left for this machine" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra.sweeper.sweep_id=team/digits/nothing"], "W&B has no sweep team/digits/nothing"),
        (["hydra.sweeper.sweep_id=a/b/c/d"], "must be wandb:ENTITY/PROJECT/ID"),
        (["hydra.sweeper.sweep_id=s0000000", "lr=0.5"], "so lr cannot be set here"),
        (["hydra.sweeper.sweep_id=s0000000", "sweep=grid", "units=1,2"], "so units, sweep cannot be set here"),
        (["hydra.sweeper.sweep_id=over"], "The sweep team/digits/over is finished at W&B; `wandb sweep --resume"),
    ],
)
def test_joining_is_refused(server: WandbServer, home: Path, arguments: list[str], message: str) -> None:
    add_sweep(server, GRID)
    server.sweeps["over"] = type(server.sweeps["s0000000"])("over", "digits", GRID, state="FINISHED")
    process = start_app("tiny", home / "tiny", *HOSTED, *arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert message in err
    assert "Traceback" not in err
    assert not (home / "tiny" / "outputs").exists()


def test_the_last_agent_of_a_detached_sweep_writes_the_summary(server: WandbServer, home: Path) -> None:
    overrides = [*TWO_AGENTS, "hydra.sweeper.detach=true", "+logger.summary=true"]
    run("tiny", home / "tiny", *SWEEPER, "sweep=macros", *overrides, "hydra.sweep.dir=sweep")
    directory = home / "tiny" / "sweep"
    sweep_id = LaunchRecord.load(directory).sweep_id
    concluded = directory / ".sweep" / "concluded"
    wait_until(lambda: concluded.exists() and concluded.read_text(), within_s=60)
    assert [trial.state in ENDED for trial in open_sweep(directory).trials] == [True] * 2
    (summary,) = server.runs.values()
    assert (summary.name, summary.state, summary.begun) == (f"{sweep_id}-sweep", "finished", 1)
    assert summary.summary["trials/finished"] == 2
