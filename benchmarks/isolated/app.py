"""A short digits training that notes when its task function began and ended, and how large its agent was then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from train import drop_sweep


@hydra.main(version_base="1.3", config_path="../../conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    began = time.monotonic()
    drop_sweep(cfg)
    from classifier.training import train

    value = train(cfg)
    with Path(cfg.times).open("a") as file:
        file.write(f"{began} {time.monotonic()} {agent_rss()}\n")
    return value


def agent_rss() -> int:
    """Bytes of the agent: the process itself, or that of its warm parent's parent."""
    name, pid = Path(f"/proc/{os.getppid()}/cmdline").read_bytes(), os.getpid()
    if b"wandbsweep.agent.child" in name:
        pid = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
