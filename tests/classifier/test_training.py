import csv
import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb
from omegaconf import OmegaConf

from classifier import loggers
from classifier.training import train
from train import drop_sweep
from wandbsweep.current import CurrentTrial, Preempted, running
from wandbsweep.errors import DivergedError
from wandbsweep.results.checkpoints import find_checkpoint_of_step
from wandbsweep.trial import CONTINUE, Decision

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"

COSTS = {"train/images_per_second", "train/seconds_per_epoch", "memory/host_peak_mib", "model/parameters"}


def test_a_training_that_diverges_ends_with_the_step(make_config):
    options = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null", "trainer.max_epochs=9"]
    with running(CurrentTrial(number=0, metric="val/loss")), pytest.raises(DivergedError) as caught:
        train(make_config(*options))
    assert re.fullmatch(r"the loss is (NaN|infinite) at step \d (\(epoch 0\))", str(caught.value))


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("scheduler", names("scheduler"))
def test_every_optimizer_trains_with_every_schedule(make_config, optimizer, scheduler):
    groups = [f"optimizer={optimizer}", f"scheduler={scheduler}"]
    cfg = make_config(*groups, "metric=train/loss", "trainer.max_steps=1", "trainer.enable_checkpointing=false")
    assert math.isfinite(train(cfg))


def test_learns(make_config):
    assert train(make_config("trainer.max_epochs=3", "model=convnet")) > 0.9


def test_same_seed_same_number_other_seed_another(make_config):
    values = [train(make_config(f"seed={seed}", "metric=val/loss")) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_resumed_trial_ends_where_an_uninterrupted_one_does(make_config):
    options = ["metric=val/loss", "model.dropout=0.3"]
    whole = train(make_config(*options, "trainer.max_epochs=3", output="whole"))
    train(make_config(*options, "trainer.max_epochs=1", output="parts"))
    with running(CurrentTrial(number=0, resumed=True, metric="val/loss")):
        assert train(make_config(*options, "trainer.max_epochs=3", output="parts")) == pytest.approx(whole, 1e-6)


def test_a_trial_that_is_not_resumed_starts_over_in_an_old_directory(make_config, tmp_path):
    first, again = (train(make_config("metric=val/loss")) for _ in range(2))
    assert first == again
    assert {path.name for path in (tmp_path / "out/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_stop_ends_training_at_the_first_report(make_config):
    sent = []
    trial = CurrentTrial(
        number=0, metric="val/accuracy", send=lambda *report: sent.append(report) or Decision(True, "bad")
    )
    with running(trial):
        train(make_config("trainer.max_epochs=20"))
    assert [step for step, _ in sent] == [0]
    quality = {"train/loss", "val/loss", "val/accuracy", "val/f1", "val/calibration_error"}
    assert set(sent[0][1]) == quality | COSTS


def test_the_best_epoch_is_kept_and_returned_and_tested(make_config, tmp_path, caplog):
    caplog.set_level("INFO")
    options = ["optimizer.lr=0.03", "model.dropout=0.5", "trainer.max_epochs=6"]
    curve = []
    trial = CurrentTrial(number=0, metric="val/loss", send=lambda _, found: curve.append(found) or CONTINUE)
    with running(trial):
        returned = train(make_config(*options))
    losses = [found["val/loss"] for found in curve]
    best = losses.index(min(losses))
    assert best < 5
    assert returned == losses[best]
    checkpoints = tmp_path / "out/checkpoints"
    assert [find_checkpoint_of_step(tmp_path, step, range(6)) for step in (best, 5)] == [
        checkpoints / "best.ckpt",
        checkpoints / "last.ckpt",
    ]
    again = train(make_config(*options, "metric=test/loss", "test=true", output="again"))  # chosen by val/loss
    assert f"Of epoch {best} of 0 to 5, the best by val/loss" in caplog.text
    assert re.search(rf"val/loss +{re.escape(f'{losses[best]:.9g}')}\n", caplog.text)
    weights = torch.load(tmp_path / "again/checkpoints/best.ckpt", weights_only=False)
    assert weights["epoch"] == best
    assert again != losses[best]


def test_returns_the_sweeps_metric(make_config):
    with running(CurrentTrial(number=0, metric="val/loss", send=lambda *_: CONTINUE)):
        loss = train(make_config())
    assert loss == train(make_config("metric=val/loss"))


def test_the_test_split_is_for_plain_runs_only(make_config, caplog):
    caplog.set_level("INFO")
    train(make_config("test=true"))
    assert "test/accuracy" in caplog.text
    with running(CurrentTrial(number=0)), pytest.raises(ValueError, match="test=true inside a sweep"):
        train(make_config("test=true"))


def test_a_run_says_its_metrics_and_nothing_else(make_config, caplog):
    caplog.set_level("INFO")
    train(make_config())
    assert [record.name for record in caplog.records] == ["classifier.training"]


def test_a_trial_says_nothing_and_leaves_nothing_behind(make_config, caplog, capfd):
    caplog.set_level("INFO")
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def state():
        return [signal.getsignal(s) for s in watched], torch.get_num_threads(), wandb.run

    before = state()
    with running(CurrentTrial(number=0, sweep_id="abcd1234")):
        train(make_config())
    assert state() == before
    assert (caplog.text, capfd.readouterr()) == ("", ("", ""))


def test_no_logger_writes_the_checkpoints_only(make_config, tmp_path):
    train(make_config())
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} == {"best.ckpt", "last.ckpt"}


def test_the_csv_file_is_in_the_output_directory(make_config, tmp_path):
    train(make_config("logger=csv"))
    rows = list(csv.DictReader((tmp_path / "out/metrics.csv").read_text().splitlines()))
    assert any(row["val/accuracy"] for row in rows)


@pytest.fixture
def wandb_runs(monkeypatch) -> list[wandb.Run]:
    """The W&B runs that are started, offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    runs, init = [], wandb.init
    monkeypatch.setattr(wandb, "init", lambda **options: runs.append(init(**options)) or runs[-1])
    return runs


def test_each_trial_is_a_wandb_run_of_its_own(make_config, tmp_path, wandb_runs, capfd):
    for number, lr in enumerate([0.01, 0.02]):
        params = {"optimizer.lr": lr, "model": "mlp"}
        with running(CurrentTrial(number=number, sweep_id="abcd1234", params=params, metric="val/accuracy")):
            train(make_config("logger=wandb", f"optimizer.lr={lr}", "model=mlp", output=str(number)))
        assert wandb.run is None
    assert [run.name for run in wandb_runs] == ["abcd1234-0", "abcd1234-1"]
    assert {run.group for run in wandb_runs} == {"abcd1234"}
    assert [run.config["optimizer.lr"] for run in wandb_runs] == [0.01, 0.02]
    assert [run.config["model"] for run in wandb_runs] == ["mlp", "mlp"]
    assert [run.config["config"]["optimizer"]["lr"] for run in wandb_runs] == [0.01, 0.02]
    assert "sweep" not in wandb_runs[0].config["config"]
    assert all(len(list((tmp_path / n / "wandb").glob("offline-run-*"))) == 1 for n in "01")
    assert "View this run" not in capfd.readouterr().err


def test_the_wandb_run_ends_when_training_raises(make_config, wandb_runs, monkeypatch):
    codes, finish = [], wandb.finish
    monkeypatch.setattr(wandb, "finish", lambda exit_code: codes.append(exit_code) or finish(exit_code))

    def lost(*_):
        raise ConnectionError("the sweep is gone")

    with pytest.raises(ConnectionError), running(CurrentTrial(number=0, metric="val/loss", send=lost)):
        train(make_config("logger=wandb"))
    assert (len(wandb_runs), codes, wandb.run) == (1, [1], None)


def test_a_resumed_trial_continues_its_wandb_run(make_config, wandb_runs, monkeypatch):
    steps, log = [], wandb.Run.log
    monkeypatch.setattr(
        wandb.Run,
        "log",
        lambda run, data, step=None: steps.append((len(wandb_runs), step)) or log(run, data, step=step),
    )
    options = ["logger=wandb", "trainer.max_epochs=3", "data.batch_size=128"]  # 10 steps an epoch
    trial = CurrentTrial(number=0, sweep_id="abcd1234", metric="val/loss")
    trial.send = lambda step, metrics: (trial.interrupt("a test") if step == 0 else None, CONTINUE)[1]
    with pytest.raises(Preempted), running(trial):
        train(make_config(*options))
    with running(CurrentTrial(number=0, sweep_id="abcd1234", metric="val/loss", resumed=True)):
        train(make_config(*options))
    assert [run.id for run in wandb_runs] == ["abcd1234-0"] * 2
    assert sorted({found for found in steps if found[1] is not None}) == [(1, 9), (2, 19), (2, 29)]


@pytest.mark.parametrize(
    ("variables", "login", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "x" * 40}, "", "online"),
        ({}, "machine api.wandb.ai login user password " + "x" * 40, "online"),
        ({}, "machine other.example login user password " + "x" * 40, "offline"),
        ({"WANDB_BASE_URL": "https://other.example"}, "machine other.example login u password x", "online"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:8080"}, "machine 127.0.0.1:8080 login u password x", "online"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:8080"}, "machine api.wandb.ai login u password x", "offline"),
        ({"WANDB_API_KEY": "x" * 40, "WANDB_MODE": "disabled"}, "", "disabled"),
    ],
)
def test_online_only_where_wandb_is_set_up(monkeypatch, tmp_path, variables, login, mode):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # it remembers the environment of the first use
    (tmp_path / "netrc").write_text(login + "\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert loggers.wandb_mode() == mode


@pytest.mark.parametrize(
    ("sweep", "kept"),
    [
        ({"parameters": {"a": {"value": 1}}, "command": ["${env}"]}, False),
        ({"mine": 1}, True),
        (3, True),
        ("${x}", True),
    ],
)
def test_only_a_sweeps_configuration_is_dropped(sweep, kept):
    assert ("sweep" in OmegaConf.to_container(drop_sweep(OmegaConf.create({"sweep": sweep})))) == kept


def test_importing_train_imports_nothing_heavy():
    heavy = "{'torch', 'lightning', 'wandb'}"
    code = f"import sys, json, train; print(json.dumps(sorted({heavy} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_plain_command_prints_its_metrics(tmp_path):
    command = [sys.executable, ROOT / "train.py", "optimizer.lr=0.01", "trainer.max_epochs=1", "logger=csv"]
    macro = "+sweep.command=['${env}','${program}']"  # would raise if anything resolved the key
    done = subprocess.run([*command, macro], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "val/accuracy" in done.stdout
    assert "Warning" not in done.stderr
    (metrics,) = Path(tmp_path, "outputs/runs").rglob("metrics.csv")
    assert metrics.with_name("train.log").exists()
