"""A training on several processes, each of which writes down what it did; ``cfg.act`` says what else happens."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from wandbsweep import current_trial
from wandbsweep.lightning import SweepCallback


class Module(LightningModule):
    def __init__(self, cfg: DictConfig, output: Path) -> None:
        super().__init__()
        self.cfg, self.output = cfg, output
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.cfg.act == "wait":
            time.sleep(0.2)
        self.log("loss", torch.tensor(float(self.cfg.loss)), on_epoch=True, on_step=False, sync_dist=True)
        return self.layer(batch[0]).square().mean()

    def on_train_start(self) -> None:
        self.note(began=self.global_step)
        if self.act("die", rank=1):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.act("fail", rank=1):
            raise ValueError("no luck with rank 1")

    def on_train_end(self) -> None:
        self.note(ended=self.global_step)

    def act(self, what: str, *, rank: int) -> bool:
        """Whether this is what happens: once in the first trial, on the rank."""
        trial = current_trial()
        here = self.cfg.act == what and self.global_rank == rank and trial.number == 0
        return here and (what == "fail" or not trial.resumed)

    def note(self, **event: Any) -> None:
        seen = {"cfg": OmegaConf.to_container(self.cfg), "params": dict(current_trial().params), "pid": os.getpid()}
        with (self.output / f"rank{self.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps({**seen, **event}) + "\n")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(cfg: DictConfig) -> float:
    output = Path(HydraConfig.get().runtime.output_dir)
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    trainer = Trainer(
        accelerator="cpu",
        devices=cfg.devices,
        num_nodes=cfg.nodes,
        strategy="ddp",
        max_epochs=cfg.epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[SweepCallback(), ModelCheckpoint(output, filename="last", enable_version_counter=False)],
        plugins=[SLURMEnvironment(auto_requeue=False) if tasks > 1 else LightningEnvironment()],
        default_root_dir=output,
    )
    loader = DataLoader(TensorDataset(torch.ones(16, 2)), batch_size=2)
    last = output / "last.ckpt"
    resumed = last if current_trial().resumed and last.exists() else None
    trainer.fit(Module(cfg, output), loader, ckpt_path=resumed, weights_only=False)
    return float(cfg.loss)
