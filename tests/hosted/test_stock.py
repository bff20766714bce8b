"""W&B's own tools: ``wandb sweep``, ``wandb agent`` and ``wandb.agent(function)``, with a Hydra application."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.hosted.parts import make_controller
from wandbsweep import load_sweep
from wandbsweep.wandb_runs.environment import apply_environment
from wandbsweep.wandb_runs.stock_agent import restore_overrides
from wandbsweep.wandb_runs.sweep_run import read_params, write_params

WANDB = Path(sys.executable).with_name("wandb")

VALUES = {
    "text": "two words, a comma = and ${HOME}",
    "none": None,
    "yes": True,
    "words": ["a", "b c", "d,e"],
    "deep.lr": 1e-7,
    "as_text": "None",
    "number_as_text": "12",
    "empty": "",
}
COMMAND = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]

APP = """
import json, sys
import hydra
from omegaconf import OmegaConf
import wandb
from wandbsweep.wandb_runs.stock_agent import restore_overrides

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    cfg = OmegaConf.to_container(cfg, resolve=True)
    with wandb.init() as run:
        run.log({"loss": 0.5})
        run.summary["seen"] = json.dumps(cfg)
        run.summary["swept"] = json.dumps({name: run.config[name] for name in json.loads(cfg["names"])})

sys.argv[1:] = restore_overrides(sys.argv[1:])
main()
"""


def wandb_command(*arguments, cwd):
    done = subprocess.run([WANDB, *arguments], cwd=cwd, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def application(home):
    config = {"names": json.dumps(sorted(VALUES)), "deep": {"lr": 0.1}}
    config |= {name: "unset" for name in VALUES if "." not in name}
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    (home / "app.py").write_text(APP)
    sweep = {"program": "app.py", "method": "grid", "command": COMMAND, "metric": {"name": "loss"}}
    sweep["parameters"] = {name: {"values": [value]} for name, value in VALUES.items()}
    (home / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    return home


def test_every_value_arrives_with_its_type(server, application, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    wandb_command("sweep", "sweep.yaml", cwd=application)
    (sweep_id,) = server.sweeps
    wandb_command("agent", "--count", "1", f"team/digits/{sweep_id}", cwd=application)
    (run,) = server.list_runs(sweep_id)
    assert (run.state, run.exitcode, run.values("loss")) == ("finished", 0, [0.5])
    seen = json.loads(run.summary["seen"])
    assert {**{k: seen[k] for k in VALUES if "." not in k}, "deep.lr": seen["deep"]["lr"]} == VALUES
    assert json.loads(run.summary["swept"]) == VALUES
    assert {name: run.config[name]["value"] for name in VALUES} == VALUES


def test_a_function(server, python):
    python(
        """
        import wandb

        def train():
            with wandb.init() as run:
                for step in range(3):
                    run.log({"loss": run.config["lr"] * step})

        sweep = {"method": "grid", "metric": {"name": "loss"}, "parameters": {"lr": {"values": [0.1, 0.2]}}}
        wandb.agent(wandb.sweep(sweep, project="digits"), function=train, count=1)
        """
    )
    (run,) = server.runs.values()
    assert (run.state, run.params, run.values("loss")) == ("finished", {"lr": 0.1}, [0.0, 0.1, 0.2])


def test_the_command_line_is_unchanged_outside_a_sweep():
    assert restore_overrides(["a=None", "b=1"]) == ["a=None", "b=1"]


@pytest.mark.parametrize("written", ["a=None", "++a=None", "+a=None", "--a=None"])
def test_the_agents_values_are_restored(tmp_path, written):
    path = tmp_path / "params.yaml"
    write_params(path, {"a": {"value": None}, "b": {"value": [1, "x y"]}})
    named = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_SWEEP_PARAM_PATH": str(path)}
    with apply_environment(named):
        found = restore_overrides([written, "c=3"])
    prefix = "" if written.startswith("--") else written.partition("a")[0]
    assert found == [f"{prefix}a=null", "c=3", "b=[1,'x y']"]


def test_the_parameter_file_has_wandbs_format(tmp_path):
    path = tmp_path / "deep" / "params.yaml"
    write_params(path, {"model.dim": {"value": 3}, "name": {"value": "ä"}})
    assert yaml.safe_load(path.read_text()) == {"wandb_version": 1, "model.dim": {"value": 3}, "name": {"value": "ä"}}
    assert read_params(path) == {"model.dim": 3, "name": "ä"}
    write_params(path, {})
    assert read_params(path) == {}


def test_nested_parameters_become_dotted_ones(server):
    nested = {"model": {"parameters": {"dim": {"values": [1]}, "kind": {"value": {"a": {"b": 1}}}}}}
    config = {"method": "grid", "parameters": nested}
    controller = make_controller(server, config)
    sweep = server.sweeps[controller.sweep_id]
    sweep.search = type(
        "Nested", (), {"size": 1, "draw": lambda _, n: {"model": {"dim": 1.0, "kind": {"a": {"b": 1}}}}}
    )()
    trial = controller.ask("a")
    assert trial.params == {"model.dim": 1, "model.kind": {"a": {"b": 1}}}
    assert type(trial.params["model.dim"]) is int
    assert sorted(load_sweep(config).parameters) == sorted(trial.params)
    controller.close()
