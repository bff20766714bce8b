"""A training of a few milliseconds on several processes."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    from distributed import train

    return train(cfg)


if __name__ == "__main__":
    main()
