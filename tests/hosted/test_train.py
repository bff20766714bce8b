"""train.py and conf/sweep at W&B: our sweeper with ``controller=wandb``, and W&B's own agent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.hosted.parts import ALL_BUT_THE_NEEDED, add_sweep, find_key
from wandbsweep import load_sweep

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "conf" / "sweep").glob("*.yaml"))
QUICK = ["trainer.max_epochs=1", "trainer.enable_checkpointing=false"]


def run(*command, check=True, **environment):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_sweep_file_says_how_wandbs_agent_runs_it(file):
    config = yaml.safe_load(file.read_text())
    assert config["program"] == "train.py"
    assert config["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    load_sweep(file)


def test_our_sweeper(server, home):
    """With a server that refuses all optional operations, as GraphQL does: with status 200."""
    server.fail(ALL_BUT_THE_NEEDED, status=200, times=10_000)
    command = [sys.executable, "train.py", "-m", "hydra/sweeper=wandbsweep", "hydra.sweeper.controller=wandb"]
    place = f"hydra.sweep.dir={home / 'sweep'}"
    done = run(*command, "sweep=article_grid", place, *QUICK)
    (sweep_id,) = server.sweeps
    assert sweep_id in done.stdout
    runs = server.list_runs(sweep_id)
    assert [(run.state, run.params) for run in runs] == [
        ("finished", {"optimizer.lr": 0.1}),
        ("finished", {"optimizer.lr": 0.01}),
    ]
    for number, found in enumerate(runs):
        assert found.config["optimizer.lr"]["value"] == found.params["optimizer.lr"]
        assert found.config["config"]["value"]["optimizer"]["lr"] == found.params["optimizer.lr"]
        assert len(found.values("val/accuracy")) == 1
        assert (found.facts["displayName"], found.facts["groupName"]) == (f"{sweep_id}-{number}", sweep_id)
    assert find_key(home, done.stdout, done.stderr) == []
    cli = [sys.executable, "-m", "wandbsweep.cli", "table", "--json"]
    local, remote = (json.loads(run(*cli, ref).stdout) for ref in (home / "sweep", f"wandb:team/digits/{sweep_id}"))
    keys = ("number", "state", "metric", "params", "steps")
    assert [[t[key] for key in keys] for t in local] == [[t[key] for key in keys] for t in remote]


def test_wandbs_agent(server, home):
    server.fail(ALL_BUT_THE_NEEDED, status=200, times=10_000)
    values = {"model.hidden": [16, 8], "trainer.gradient_clip_val": None, "test": False, "model": "mlp"}
    config = yaml.safe_load((ROOT / "conf" / "sweep" / "article_grid.yaml").read_text())
    config["parameters"] = {name: {"value": value} for name, value in values.items()}
    config["parameters"] |= {"trainer.max_epochs": {"value": 1}, "trainer.enable_checkpointing": {"value": False}}
    sweep_id = add_sweep(server, config)
    run(Path(sys.executable).with_name("wandb"), "agent", "--count", "1", f"team/digits/{sweep_id}")
    (found,) = server.list_runs(sweep_id)
    assert (found.state, len(found.values("val/loss"))) == ("finished", 1)
    composed = found.config["config"]["value"]
    assert composed["model"]["hidden"] == [16, 8]
    assert composed["trainer"]["gradient_clip_val"] is None
    assert composed["test"] is False
    assert {name: found.config[name]["value"] for name in values} == values


@pytest.mark.slow
def test_wandbs_agent_with_the_training_function(server, home):
    config = {"method": "grid", "metric": {"name": "val/loss"}, "parameters": {"optimizer.lr": {"values": [0.01]}}}
    sweep_id = add_sweep(server, config)
    program = f"""
import wandb
from hydra import compose, initialize_config_dir
from classifier.training import train
from train import drop_sweep
from wandbsweep.wandb_runs.stock_agent import restore_overrides

def trial():
    with initialize_config_dir({str(ROOT / "conf")!r}, version_base="1.3"):
        cfg = compose("config", overrides=restore_overrides([*{QUICK!r}, "output_dir={home}"]))
    train(drop_sweep(cfg))

wandb.agent({sweep_id!r}, function=trial, count=1, project="digits")
"""
    run(sys.executable, "-c", program)
    (found,) = server.list_runs(sweep_id)
    assert (found.state, found.params, len(found.values("val/loss"))) == ("finished", {"optimizer.lr": 0.01}, 1)
    assert found.config["config"]["value"]["optimizer"]["lr"] == 0.01
