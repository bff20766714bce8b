"""An application with the parameters and metrics of the two articles, under their own names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from wandbsweep import current_trial


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """A curve that falls the lower, the closer the learning rate is to 1e-3 and the less dropout there is."""
    floor = abs(math.log10(cfg.learning_rate) + 3) / 4 + cfg.dropout + cfg.batch_size / 1e4 + cfg.weight_decay
    used = {name: cfg[name] for name in cfg}
    Path(HydraConfig.get().runtime.output_dir, "result.json").write_text(json.dumps(used))
    loss = math.inf
    for epoch in range(cfg.epochs):
        loss = floor + 1.0 / (epoch + 1 + cfg.warmup_steps / 1000)
        metrics = {"epoch": epoch, "train/loss": 0.9 * loss, "val/loss": loss, "Validation Accuracy": 100 / (1 + loss)}
        if current_trial().report(epoch, metrics).stop:
            break
    return loss


if __name__ == "__main__":
    main()
