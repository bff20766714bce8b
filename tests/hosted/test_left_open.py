"""Runs that trials leave open, several trials in one process: each has a run of its own, with its own status."""

import os
import subprocess
import sys

from tests.hosted.parts import QUICK_CLIENT

APP = """
import json, sys
import hydra, wandb
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from wandbsweep import current_trial
from wandbsweep.current import Preempted

@hydra.main(config_path=None, version_base="1.3")
def main(cfg):
    trial = current_trial()
    options = {"dir": HydraConfig.get().runtime.output_dir, "config": {"lr": cfg.lr, "how": cfg.how}}
    if cfg.how == "lightning":
        from lightning.pytorch.loggers import WandbLogger
        run = WandbLogger(save_dir=options["dir"], config=options["config"]).experiment
    elif cfg.how == "several":
        wandb.init(**options, reinit="create_new", group="other")
        run = wandb.init(**options, reinit="create_new")
    else:
        run = wandb.init(**options)
    assert run.config["lr"] == cfg.lr
    run.log({"loss": run.config["lr"]})
    trial.report(0, {"loss": run.config["lr"]})
    if cfg.how == "raise":
        raise RuntimeError("this trial fails")
    if cfg.how == "exit":
        sys.exit(3)
    if cfg.how == "interrupt" and not trial.resumed:
        raise Preempted("to be resumed")

main()
"""


def test_runs_that_trials_leave_open(server, home):
    (home / "app.py").write_text(APP)
    hows = ["plain", "raise", "several", "exit", "interrupt", "lightning"]
    space = {f"+{name}": values for name, values in {"how": ",".join(hows), "lr": "0.25"}.items()}
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep"]
    command += [f"{name}={values}" for name, values in space.items()]
    done = subprocess.run(
        command, cwd=home, env={**os.environ, **QUICK_CLIENT}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr[-3000:]
    shown = [(run.config["how"]["value"], run.facts.get("groupName"), run.state) for run in server.runs.values()]
    assert shown == [
        ("plain", None, "finished"),
        ("raise", None, "failed"),
        ("several", "other", "finished"),
        ("several", None, "finished"),
        ("exit", None, "failed"),
        ("interrupt", None, "preempted"),
        ("interrupt", None, "finished"),
        ("lightning", None, "finished"),
    ]
    assert all(run.values("loss") == [0.25] for run in server.runs.values() if run.facts.get("groupName") is None)
