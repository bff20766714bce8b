"""A task that does nothing but note when it began and ended: what is left is the sweep's own overhead."""

import time

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    began = time.time()
    with open(cfg.times, "a", encoding="utf-8") as file:
        file.write(f"{began} {time.time()}\n")
    return float((cfg.optimizer.lr - 0.1) ** 2)


if __name__ == "__main__":
    main()
