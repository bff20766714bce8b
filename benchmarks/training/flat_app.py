"""A short digits training that notes, when it begins, how large its agent is; every fourth trial runs out of memory."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import hydra
from omegaconf import DictConfig

from train import drop_sweep
from wandbsweep import current_trial


@hydra.main(version_base="1.3", config_path="../../conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    drop_sweep(cfg)
    measured = {name: measure(pid) for name, pid in find_processes().items()}
    with Path(cfg.samples).open("a") as file:
        file.write(f"{json.dumps(measured)}\n")
    from classifier.training import train

    value = train(cfg)
    if (current_trial().number or 0) % 4 == 3:
        held = b"x" * 2**26  # large enough that the allocator returns it to the system when it is released
        raise MemoryError(f"{len(held)} bytes and no more")
    return value


def find_processes() -> dict[str, int]:
    """Return the agent's process, and the fork server's if there is one."""
    parent = os.getppid()
    if b"wandbsweep.agent.child" not in Path(f"/proc/{parent}/cmdline").read_bytes():
        return {"agent": os.getpid()}
    agent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    return {"agent": agent, "fork server": parent}


def measure(pid: int) -> dict[str, float]:
    process = Path(f"/proc/{pid}")
    tasks = list((process / "task").iterdir())
    return {
        # Without the pages of files, which the machine takes away and brings back as it needs memory.
        "memory": sum(map(int, re.findall(r"(?:RssAnon|VmSwap):\s+(\d+)", (process / "status").read_text()))) / 1024,
        "files": len(list((process / "fd").iterdir())),
        "threads": len(tasks),
        "children": sum(len((task / "children").read_text().split()) for task in tasks),
    }


if __name__ == "__main__":
    main()
