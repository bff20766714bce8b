"""A task that leaves everything in its process changed, after it has noted what it found."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

os.environ["OF_SCRIPT"] = "there"
logging.getLogger("of_script").addHandler(logging.FileHandler("script.log", delay=True))
OmegaConf.register_new_resolver("of_script", lambda: "there")


def look() -> dict[str, Any]:
    """Return what the task sees of its process."""
    import numpy as np
    import torch

    umask = os.umask(0)
    os.umask(umask)
    return {
        "cwd": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(("OF_", "PL_", "KERAS"))},
        "umask": umask,
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
        "handler": getattr(signal.getsignal(signal.SIGUSR1), "name", str(signal.getsignal(signal.SIGUSR1))),
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "blocked": [s.name for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "root": [type(handler).__name__ for handler in logging.root.handlers],
        "levels": [logging.root.level, logging.getLogger("of_task").level, logging.root.manager.disable],
        "handlers": {
            name: [type(handler).__name__ for handler in logging.getLogger(name).handlers]
            for name in ("of_script", "of_task", "task_module")
        },
        "classes": [str(logging.getLoggerClass()), str(logging.getLogRecordFactory())],
        "tracing": [str(sys.gettrace()), str(sys.getprofile())],
        "argv": sys.argv[1:],
        "path": sys.path,
        "hooks": [sys.excepthook is sys.__excepthook__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "out": os.fstat(1).st_ino,
        "others": [tempfile.gettempdir(), socket.getdefaulttimeout(), time.tzname[0]],
        "recursion": sys.getrecursionlimit(),
        "gc": [gc.isenabled(), gc.get_threshold()],
        "filters": [
            [action, str(text and text.pattern)] for action, text, *_ in warnings.filters if action == "error" or text
        ],
        "start method": multiprocessing.get_start_method(allow_none=True),
        "resolvers": [OmegaConf.has_resolver(name) for name in ("of_script", "of_import")],
        "hydra": GlobalHydra.instance().is_initialized(),
        "numpy": [np.geterr(), np.get_printoptions()["precision"]],
        "torch": [
            str(torch.get_default_dtype()),
            str(torch.get_default_device()),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.is_anomaly_enabled(),
            torch.get_num_threads(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.allow_tf32,
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
        ],
    }


def disturb() -> None:
    """Change all of it, as the code of a training may."""
    import numpy as np
    import torch

    os.makedirs("elsewhere", exist_ok=True)
    os.chdir("elsewhere")
    os.environ["OF_TASK"] = "there"
    del os.environ["OF_SCRIPT"]
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.alarm(60)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    logging.getLogger().addHandler(logging.FileHandler("task.log"))
    logging.getLogger("of_task").addHandler(logging.StreamHandler())
    logging.getLogger("of_task").setLevel("DEBUG")
    logging.getLogger("of_script").handlers.clear()
    logging.disable()
    logging.setLoggerClass(type("OfTask", (logging.Logger,), {}))
    logging.setLogRecordFactory(lambda *values, **named: logging.LogRecord(*values, **named))
    sys.settrace(lambda *event: None)
    sys.setprofile(lambda *event: None)
    sys.argv[:] = ["app.py", "--of-task"]
    sys.path.insert(0, "of-task")
    sys.excepthook = lambda *error: None
    os.dup2(os.open("out.txt", os.O_WRONLY | os.O_CREAT), 1)
    sys.stderr = open("errors.txt", "w")  # noqa: SIM115  left open, as by the training
    sys.setrecursionlimit(5000)
    tempfile.tempdir = os.getcwd()
    socket.setdefaulttimeout(1)
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    gc.disable()
    warnings.simplefilter("error")
    multiprocessing.set_start_method("spawn")  # raises if an earlier trial's is still set
    OmegaConf.register_new_resolver("of_task", lambda: "there", replace=True)
    GlobalHydra.instance().clear()
    hydra.initialize(version_base="1.2")
    np.seterr(all="raise")
    np.set_printoptions(precision=2)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    torch.autograd.set_detect_anomaly(True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("medium")
    torch.set_autocast_enabled("cpu", True)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def draw() -> list[float]:
    import numpy as np
    import torch

    return [random.random(), np.random.rand(), torch.rand(1, device="cpu").item()]


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: Any) -> float:
    import task_module  # noqa: F401

    found = {"look": look(), "draw": draw()}
    Path(HydraConfig.get().runtime.output_dir, "result.json").write_text(json.dumps(found))
    if not cfg.disturb:
        return 0.0
    disturb()
    threading.Thread(target=lambda: time.sleep(3), name="left-by-task").start()
    subprocess.Popen(["sleep", "3.5"])
    if cfg.lr == 2:
        raise RuntimeError("this trial fails")
    return float(cfg.lr)


if __name__ == "__main__":
    main()
