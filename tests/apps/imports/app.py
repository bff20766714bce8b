"""Imports what it needs when it runs, after its parameters have said how."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig

LEFT: list[Any] = []  # until the process ends


def train(how: str) -> Any:
    if how == "instantiate":
        return hydra.utils.instantiate({"_target_": "reads_environment.get_backend"})
    if how == "call":
        from reads_environment import BACKEND

        return BACKEND
    if how == "processes":
        import starts_processes

        answer = starts_processes.ask(os.environ["DEMO_BACKEND"])
        own = tempfile.TemporaryDirectory()
        LEFT.extend([own, own.name, starts_processes.DIRECTORY.name])
        LEFT.extend([starts_processes.PROCESS.pid, starts_processes.PROGRAM.pid])
        return answer
    import starts_thread

    return starts_thread.ask()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: Any) -> float:
    ahead = sorted({"reads_environment", "starts_thread"} & set(sys.modules))
    os.environ["DEMO_BACKEND"] = cfg.backend
    if cfg.how == "import":
        from reads_environment import BACKEND as found
    else:
        found = train(cfg.how)
    seen = {
        "given": cfg.backend,
        "found": found,
        "ahead": ahead,
        "pid": os.getpid(),
        "threads": threading.active_count(),
        "directories": [name for name in LEFT if isinstance(name, str)],
        "processes": [pid for pid in LEFT if isinstance(pid, int)],
    }
    Path(HydraConfig.get().runtime.output_dir, "result.json").write_text(json.dumps(seen))
    return 0.0


if __name__ == "__main__":
    main()
