"""A task that only writes when it began and ended, so that everything else is the sweep's overhead."""

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
