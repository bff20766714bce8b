"""A training without torch, which notes its epochs, writes a checkpoint after each, and can be held by tests.

``$HOLDS`` names a directory. The first process that reaches a phase writes ``<phase>.json``, then waits for ``go``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from wandbsweep import current_trial


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    trial, place = current_trial(), Path(HydraConfig.get().runtime.output_dir)
    trial.listening = True
    first = load(place) if trial.resumed else 0
    for epoch in range(first, cfg.epochs):
        if epoch == 1:
            hold("training", number=trial.number, until=lambda: trial.preempted)
        time.sleep(cfg.epoch_s)
        if trial.preempted:
            save(place, epoch)
            return
        note(place, epoch=epoch, pid=os.getpid())
        decision = trial.report(epoch, {"loss": cfg.lr + 1.0 / (epoch + 1), "pid": os.getpid()})
        if decision.stop and not trial.interrupt_requested:
            return
        save(place, epoch + 1, held=epoch == 1)
        if trial.interrupt_requested:
            return


def note(place: Path, **seen: Any) -> None:
    with Path(place, "epochs.jsonl").open("a") as file:
        file.write(json.dumps(seen) + "\n")


def load(place: Path) -> int:
    try:
        return int(json.loads(Path(place, "checkpoint.json").read_text())["epochs"])
    except FileNotFoundError:
        return 0


def save(place: Path, epochs: int, *, held: bool = False) -> None:
    text = json.dumps({"epochs": epochs})
    part = place / f"checkpoint.{os.getpid()}"
    with part.open("w") as file:
        file.write(text[:3])
        file.flush()
        if held:
            hold("checkpointing", number=current_trial().number)
        file.write(text[3:])
    part.rename(place / "checkpoint.json")


def hold(phase: str, *, until: Callable[[], bool] = lambda: False, **who: Any) -> None:
    """Wait if this is the first to reach ``phase``."""
    if "HOLDS" not in os.environ:
        return
    place = Path(os.environ["HOLDS"])
    ours = place / f"{phase}.{os.getpid()}"
    # SLURM_JOB_ID of one task is that of the whole array.
    job = "{}_{}".format(*(os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK")))
    ours.write_text(json.dumps({"pid": os.getpid(), **who, "job": job}))
    try:
        os.link(ours, place / f"{phase}.json")
    except FileExistsError:
        return
    while not (place / "go").exists() and not until():
        time.sleep(0.01)


if __name__ == "__main__":
    main()
