"""The embedded controller's trials as W&B runs: online against the loopback server, and offline."""

import json
import os
import subprocess
import sys
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from tests.hosted.artifacts import ArtifactServer, read_metadata
from tests.hosted.parts import QUICK_CLIENT, find_key
from tests.hosted.server import API_KEY
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.sweep.launch_record import Application, LaunchRecord, TrialOverrides
from wandbsweep.sweep.report_log import read_run_url
from wandbsweep.wandb_runs import page as wandb_page

ROOT = Path(__file__).parents[2]
SWEEP = """
method: grid
metric: {name: val/accuracy, goal: maximize}
parameters:
  optimizer.lr: {values: [0.01, 0.001]}
"""
OPTIONS = [
    "hydra/sweeper=wandbsweep",
    "sweep=two",
    "trainer.max_epochs=2",
    "model.hidden=[8]",
    "model=mlp",
    "optimizer=adamw",
    "scheduler=cosine",
    "logger.job_type=train",
    "logger.tags=[a,b]",
    "logger.notes=by hand",
]


@pytest.fixture
def server():
    with ArtifactServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(home, monkeypatch):
    """By default wandb inspects the machine, which takes seconds."""
    for name, value in QUICK_CLIENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def run_sweep(home):
    """Run train.py's multirun of a grid of two; the logger is W&B."""
    (home / "own" / "sweep").mkdir(parents=True)
    (home / "own" / "sweep" / "two.yaml").write_text(SWEEP)

    def run_sweep(*options):
        place = [f"hydra.sweep.dir={home / 'sweep'}", f"hydra.searchpath=[file://{home / 'own'}]"]
        command = [sys.executable, ROOT / "train.py", "-m", *OPTIONS, *place, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, done.stderr

    return run_sweep


def list_trial_runs(server):
    return sorted((run for run in server.runs.values() if run.facts["jobType"] == "train"), key=lambda run: run.name)


def test_online(server, home, run_sweep):
    out, err = run_sweep("logger.log_model=best", "logger.wandb_sweep=true")
    runs, (summary,) = list_trial_runs(server), [run for run in server.runs.values() if run.facts["jobType"] == "sweep"]
    sweep_id = summary.facts["groupName"]
    assert [(run.name, run.state) for run in runs] == [(f"{sweep_id}-0", "finished"), (f"{sweep_id}-1", "finished")]
    pages = [read_run_url(home / "sweep", number) for number in (0, 1)]  # the report links to them
    assert [str(page).rsplit("/", 1)[-1] for page in pages] == [run.name for run in runs]
    for run, lr in zip(runs, (0.01, 0.001), strict=True):
        assert (run.facts["groupName"], run.facts["tags"], run.facts["notes"]) == (sweep_id, ["a", "b"], "by hand")
        assert run.config["optimizer.lr"]["value"] == lr
        assert run.config["config"]["value"]["optimizer"]["lr"] == lr
        assert len(run.values("val/accuracy")) == 2
    _check_best_checkpoints(server, runs)
    _check_predictions(server, runs)
    _check_summary(server, home, summary, runs, out)
    ((name, sweep),) = server.sweeps.items()
    assert (sweep.state, sweep.config["controller"]) == ("FINISHED", {"type": "local"})
    assert [run.sweep for run in runs] == [name, name]
    assert "Warning" not in err
    assert find_key(home, out, err) == []


def _check_best_checkpoints(server, runs):
    models = {artifact["artifactCollectionName"]: artifact for artifact in server.list_artifacts("model")}
    assert sorted(models) == [f"model-{run.name}" for run in runs]
    for run in runs:
        model = models[f"model-{run.name}"]
        assert (model["committed"], sorted(model["aliases"])) == (True, ["best", "latest"])
        assert read_metadata(model)["score"] == pytest.approx(max(run.values("val/accuracy")))
        assert zipfile.is_zipfile(BytesIO(server.read_file(model, "model.ckpt")))


def _check_predictions(server, runs):
    """Each trial has the confusion matrix of its validation split, and misclassified images."""
    tables = [found for found in server.list_artifacts("run_table") if "confusion" in found["artifactCollectionName"]]
    assert len(tables) == len(runs)
    (path,) = [path for path in server.stored if path.startswith(tables[0]["id"]) and path.endswith(".table.json")]
    assert sum(count for _, _, count in json.loads(server.stored[path])["data"]) == 300
    assert all(run.values("val/misclassified")[-1]["count"] == 16 for run in runs)


def _check_summary(server, home, summary, runs, out):
    best = max(runs, key=lambda run: max(run.values("val/accuracy")))
    assert summary.summary["best/value"] == pytest.approx(max(best.values("val/accuracy")))
    assert summary.config["sweep"]["value"]["method"] == "grid"
    assert f"Leaderboard and report at W&B: {server.url}" in out
    (table,) = (
        found for found in server.list_artifacts("run_table") if "leaderboard" in found["artifactCollectionName"]
    )
    leaderboard = json.loads(server.read_file(table, "leaderboard.table.json"))
    assert leaderboard["columns"] == [
        "trial", "state", "val/accuracy", "steps", "seconds", "attempts", "optimizer.lr"
    ]  # fmt: skip
    assert next((row[0], row[1], row[3]) for row in leaderboard["data"]) == (runs.index(best), "finished", 2)
    (artifact,) = server.list_artifacts("sweep")
    assert yaml.safe_load(server.read_file(artifact, "sweep.yaml")) == yaml.safe_load(
        (home / "sweep/sweep.yaml").read_text()
    )
    assert b"<html" in server.read_file(artifact, "report.html")


TRAIN = f"""
import os, sys
from hydra import compose, initialize_config_dir
from classifier.training import train
from train import drop_sweep
from wandbsweep.current import CurrentTrial, Preempted, running
from wandbsweep.trial import CONTINUE

def attempt(number, *options, resumed=False, until=None):
    small = ["trainer.max_epochs=3", "model=mlp", "model.hidden=[8]", f"output_dir={{os.getcwd()}}/{{number}}"]
    with initialize_config_dir({str(ROOT / "conf")!r}, version_base="1.3"):
        cfg = drop_sweep(compose("config", overrides=[*small, *options]))
    params = {{"optimizer.lr": 0.001}}
    trial = CurrentTrial(number, params, resumed, "abcd1234", "val/loss", "minimize")
    trial.send = lambda step, metrics: (trial.interrupt("a test") if step == until else None, CONTINUE)[1]
    with running(trial):
        train(cfg)
"""


def test_a_preempted_trial_continues_in_the_same_run_and_an_offline_one_syncs(server, home, python):
    """The second attempt logs the best checkpoint of the first."""
    python(
        TRAIN
        + """
try:
    attempt(0, "logger.log_model=best", until=1)
    raise SystemExit("it was not interrupted")
except Preempted:
    pass
attempt(0, "logger.log_model=best", resumed=True)
os.environ["WANDB_MODE"] = "offline"
attempt(1, "logger.log_model=all")
"""
    )
    (run,) = server.runs.values()
    assert (run.name, run.state, run.begun, run.facts["groupName"]) == ("abcd1234-0", "finished", 2, "abcd1234")
    losses = run.values("val/loss")
    assert len(losses) == 3
    (model,) = server.list_artifacts("model")
    assert (read_metadata(model)["score"], sorted(model["aliases"])) == (pytest.approx(min(losses)), ["best", "latest"])
    assert read_metadata(model)["mode"] == "min"
    sync(home / "1" / "wandb")
    synced, versions = server.runs["abcd1234-1"], server.list_artifacts("model")[1:]
    assert (synced.state, len(synced.values("val/loss"))) == ("finished", 3)
    assert [read_metadata(version)["score"] for version in versions] == pytest.approx(synced.values("val/loss"))
    assert ["latest" in version["aliases"] for version in versions] == [False, False, True]
    best = min(versions, key=lambda version: read_metadata(version)["score"])
    assert [version["id"] for version in versions if "best" in version["aliases"]] == [best["id"]]


def sync(directory):
    (place,) = directory.glob("offline-run-*")
    wandb = Path(sys.executable).with_name("wandb")
    subprocess.run([wandb, "sync", place], check=True, capture_output=True, timeout=60)


@pytest.fixture
def finished_sweep(home):
    """A finished sweep whose logger is W&B, made without Hydra."""
    spec = load_sweep({**yaml.safe_load(SWEEP), "parameters": {"words": {"values": [["a", 1], None]}}})
    controller = create_sweep(spec, home / "done")
    while trial := controller.ask("a"):
        controller.report(trial, 0, {"val/accuracy": 0.5 + trial.number / 10})
        controller.complete(trial, Outcome.finished())
    controller.close()
    return home / "done", partial(
        LaunchRecord, "done", Application(str(home), None, "train", ["train.py"]), TrialOverrides([], [])
    )


def test_the_summary_offline(server, home, finished_sweep, capfd, monkeypatch):
    directory, plan = finished_sweep
    plan(wandb={"summary": True, "project": "digits", "group": "mine"}).save(directory)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb_page.publish_summary(directory, LaunchRecord.load(directory))
    assert server.requests == []
    assert f"wandb sync {directory}/wandb/offline-run-" in capfd.readouterr().out
    sync(directory / "wandb")
    (run,) = server.runs.values()
    assert (run.name, run.state, run.facts["groupName"]) == ("done-sweep", "finished", "mine")
    (table,) = server.list_artifacts("run_table")
    rows = json.loads(server.read_file(table, "leaderboard.table.json"))["data"]
    assert [(row[0], row[2], row[-1]) for row in rows] == [(1, 0.6, None), (0, 0.5, '["a", 1]')]


def test_a_failure_of_wandb_is_one_warning(server, finished_sweep, capfd, caplog, monkeypatch):
    directory, plan = finished_sweep
    server.fail("UpsertBucket", status=403, times=99)
    plan(wandb={"summary": None, "project": "digits"}).save(directory)
    wandb_page.publish_summary(directory, LaunchRecord.load(directory))
    (line,) = caplog.messages
    assert line.startswith("The sweep's summary is not at W&B: ")
    assert "CommError" in line
    assert API_KEY not in line
    monkeypatch.setattr(wandb_page, "_PUBLISH_TIMEOUT_S", 0.1)
    wandb_page.publish_summary(directory, LaunchRecord.load(directory))
    assert caplog.messages[1] == "The sweep's summary is not at W&B: it took more than 0 s"
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("logger", "asked"),
    [
        ({}, None),
        ({"project": "a"}, None),
        ({"project": "a", "summary": False}, None),
        ({"project": "a", "summary": None, "save_dir": "b"}, {"project": "a", "summary": None}),
        ({"summary": False, "wandb_sweep": True}, {"summary": False, "wandb_sweep": True}),
    ],
)
def test_page_settings(logger, asked):
    assert wandb_page.read_page_settings(logger) == asked


def test_offline_nothing_is_published_unasked(server, finished_sweep, monkeypatch, caplog):
    """No process is started, so that a sweep without W&B ends quickly."""
    directory, plan = finished_sweep
    monkeypatch.setattr(wandb_page, "_publish", lambda *_: pytest.fail("W&B was called"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb_page.publish_summary(directory, plan(wandb={"summary": None}))
    asked = plan(wandb={"summary": False, "wandb_sweep": True})
    assert wandb_page.create_page(directory, asked) is asked
    assert caplog.messages == ["logger.wandb_sweep: no sweep is created at W&B, since runs are offline here"]
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    assert wandb_page.find_mode() == "offline"
