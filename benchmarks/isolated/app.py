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
        file.write(f"{began} {time.monotonic()} {read_agent_rss()}\n")
    return value


def read_agent_rss() -> int:
    """The resident bytes of the agent: of this process, or of the parent of its fork server."""
    name, pid = Path(f"/proc/{os.getppid()}/cmdline").read_bytes(), os.getpid()
    if b"wandbsweep.agent.child" in name:
        pid = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
