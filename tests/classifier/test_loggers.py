"""Several loggers at once, and what each has after a trial was killed and resumed."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from classifier.training import train
from wandbsweep.current import CurrentTrial, Preempted, running
from wandbsweep.trial import CONTINUE, Decision

ROOT = Path(__file__).parents[2]
OPTIONS = ["trainer.max_epochs=3", "data.batch_size=128", "model.hidden=[8]"]  # 10 steps an epoch
EPOCH_ENDS = [9, 19, 29]


@pytest.fixture
def tracking_uri(tmp_path, monkeypatch):
    """Files; making the tables of MLflow's default, an SQLite file, takes many seconds."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"file://{tmp_path}/mlruns")
    return uri


def lose_the_sweep(step, metrics):
    """The report of epoch 1 comes when its metrics are logged, and before its checkpoint is written."""
    if step == 1:
        raise ConnectionError("killed")
    return CONTINUE


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow on SQLAlchemy 2.1
def test_a_killed_and_resumed_trial_logs_each_step_once_everywhere(make_config, tmp_path, tracking_uri, caplog):
    caplog.set_level("INFO")
    cfg = make_config(*OPTIONS, "logger=[csv,tensorboard,mlflow]", "callbacks=[lr_monitor]")
    options = {"sweep_id": "abcd1234", "metric": "val/loss"}
    with pytest.raises(ConnectionError), running(CurrentTrial(number=0, send=lose_the_sweep, **options)):
        train(cfg)
    out = tmp_path / "out"
    assert read_csv(out, "val/loss") == EPOCH_ENDS[:2]
    with running(CurrentTrial(number=0, resumed=True, send=lambda *_: CONTINUE, **options)):
        train(cfg)
    assert caplog.text == ""
    assert read_csv(out, "val/loss") == read_csv(out, "train/loss") == EPOCH_ENDS
    assert read_csv(out, "lr-AdamW") == [0, 10, 20]
    assert yaml.safe_load((out / "hparams.yaml").read_text())["optimizer.lr"] == 0.003
    _check_tensorboard(out / "tensorboard")
    _check_mlflow(tracking_uri)


def test_mlflows_database_lies_with_the_run_or_the_sweep(tmp_path, monkeypatch):
    from classifier.loggers.mlflow import find_place

    sweep = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", sweep)
    assert find_place(str(tmp_path / "sweep/3")) == tmp_path / "sweep/3"
    with running(CurrentTrial(number=3)):
        assert find_place(str(tmp_path / "sweep/3")) == tmp_path / "sweep"


def read_csv(directory, column):
    with (directory / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row[column]]


def _check_tensorboard(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(directory))
    shown.Reload()
    assert [event.step for event in shown.Scalars("val/loss")] == EPOCH_ENDS
    assert "_hparams_/session_start_info" in shown.summary_metadata


def _check_mlflow(uri):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("wandbsweep")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("abcd1234-0", "FINISHED")
    assert (run.data.params["optimizer.lr"], run.data.params["model.hidden"]) == ("0.003", "[8]")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "val/loss")] == EPOCH_ENDS


def test_wandb_beside_another_and_keys_of_both(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = ["logger=[wandb,csv]", "logger.project=mine", "logger.csv.version=here", "trainer.max_epochs=1"]
    train(make_config(*options))
    assert len(list((tmp_path / "out/wandb").glob("offline-run-*"))) == 1
    assert (tmp_path / "out/here/metrics.csv").exists()


def test_a_frozen_trial_has_ended_for_wandb_and_continues_with_the_next_epoch(make_config, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    finish, ends = wandb.finish, []

    def note(exit_code):
        ends.append((exit_code, wandb.run.summary.get("wandbsweep/stopped")))
        finish(exit_code=exit_code)

    monkeypatch.setattr(wandb, "finish", note)
    steps = []

    def freeze(step, metrics):
        steps.append(step)
        return Decision(stop=True, reason="thaw: it waits", freezes=True) if step == 1 else CONTINUE

    cfg = make_config(*OPTIONS, "logger=[wandb,csv]")
    with pytest.raises(Preempted), running(CurrentTrial(number=0, metric="val/loss", send=freeze)):
        train(cfg)
    with running(CurrentTrial(number=0, metric="val/loss", send=freeze, resumed=True)):
        train(cfg)
    assert steps == [0, 1, 2]
    assert read_csv(tmp_path / "out", "val/loss") == EPOCH_ENDS
    assert ends == [(0, "thaw: it waits"), (0, None)]


def test_a_resumed_trial_without_a_checkpoint_starts_its_files_anew(make_config, tmp_path):
    options = [*OPTIONS, "logger=csv", "trainer.enable_checkpointing=false"]
    for resumed in (False, True):
        with running(CurrentTrial(number=0, resumed=resumed)):
            train(make_config(*options))
    assert read_csv(tmp_path / "out", "val/loss") == EPOCH_ENDS


def test_a_row_that_a_kill_has_cut_is_dropped(make_config, tmp_path):
    options = [*OPTIONS, "logger=csv"]
    with running(CurrentTrial(number=0)):
        train(make_config(*options, "trainer.max_epochs=2"))
    with (tmp_path / "out/metrics.csv").open("a") as file:
        file.write("1,0.")
    with running(CurrentTrial(number=0, resumed=True)):
        train(make_config(*options))
    assert read_csv(tmp_path / "out", "val/loss") == EPOCH_ENDS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # MLflow's, of SQLAlchemy 2.1
def test_trials_that_start_at_once_share_one_new_mlflow_database(tmp_path):
    program = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from classifier.loggers.mlflow import mlflow_logger\n"
        "logger = mlflow_logger(tracking_uri=sys.argv[1], experiment_name='e', save_dir=sys.argv[2])\n"
        "logger.log_metrics({'x': 1.0}, step=0)\n"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path)]
    trials = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for trial in trials:
        _, errors = trial.communicate(timeout=300)
        assert trial.returncode == 0, errors
    from mlflow import MlflowClient

    (experiment,) = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments(filter_string="name = 'e'")
    assert len(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs([experiment.experiment_id])) == 3
