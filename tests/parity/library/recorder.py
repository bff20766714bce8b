"""What the applications of the suite import: it writes down what a task and its callbacks see, one event per line.

The events of a job go to ``$PARITY_RECORDS/<job number>.jsonl``, those of the launching process to ``launch.jsonl``.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_original_cwd, to_absolute_path
from omegaconf import DictConfig, ListConfig, OmegaConf


def record(cfg: Any = None, **more: Any) -> None:
    """Write down what the calling task sees, and what else it names."""
    write_event("task", more if cfg is None else {**describe_task(cfg), **more})


def write_event(name: str, content: dict[str, Any], job: Any = None) -> None:
    if job is None:
        job = HydraConfig.get().job.num if HydraConfig.initialized() else "launch"
    line = json.dumps({"event": name, **content}, default=repr, sort_keys=True, ensure_ascii=True)
    with Path(os.environ["PARITY_RECORDS"], f"{job}.jsonl").open("a") as file:
        file.write(line + "\n")


def describe_task(cfg: Any) -> dict[str, Any]:
    return {
        "config": describe_config(cfg),
        "hydra": describe_config(HydraConfig.get()),
        "is set": HydraConfig.initialized(),
        "cwd": os.getcwd(),
        "original cwd": get_original_cwd(),
        "absolute path": to_absolute_path("data"),
        **describe_process(),
    }


def describe_config(cfg: Any) -> Any:
    """Return a configuration as it stands, as it resolves, and the types and flags of its nodes."""
    if not OmegaConf.is_config(cfg):
        return repr(cfg)
    try:
        resolved = plain(OmegaConf.to_container(cfg, resolve=True))
    except Exception as error:
        resolved = repr(error)
    return {"raw": plain(OmegaConf.to_container(cfg)), "resolved": resolved, "nodes": dict(_list_nodes(cfg, ""))}


def plain(value: Any) -> Any:
    """Return containers with text as keys, and other values with their types."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _list_nodes(node: Any, path: str) -> Any:
    kind = OmegaConf.get_type(node)
    flags = {name: node._get_flag(name) for name in ("struct", "readonly")}
    yield path, f"{kind.__name__ if kind else None} {flags}"
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for key in sorted(node, key=str):
            child = node._get_node(key)
            if isinstance(child, DictConfig | ListConfig):
                yield from _list_nodes(child, f"{path}.{key}")


def describe_process() -> dict[str, Any]:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return {
        "argv": list(sys.argv),
        "environment": dict(os.environ),
        "main": {
            "file": getattr(main, "__file__", None),
            "spec": spec and spec.name,
            "package": getattr(main, "__package__", None),
            "names": sorted(name for name in vars(main) if not name.startswith("__")),
        },
        "path": list(sys.path),
        "signals": {s.name: _describe_handler(signal.getsignal(s)) for s in signal.Signals},
        "blocked signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "thread": threading.current_thread() is threading.main_thread(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "process": [multiprocessing.current_process().daemon, multiprocessing.parent_process() is None],
        "loggers": {
            name or "root": _describe_logger(logging.getLogger(name)) for name in ("", "hydra", "app", "quiet")
        },
        "umask": _read_umask(),
        "stdin": _describe_stdin(),
    }


def _describe_logger(logger: logging.Logger) -> list[Any]:
    return [logger.level, [type(handler).__name__ for handler in logger.handlers]]


def _describe_handler(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", handler))


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _describe_stdin() -> str:
    try:
        return os.readlink("/proc/self/fd/0")
    except OSError as error:
        return type(error).__name__


def describe_result(value: Any) -> str:
    return f"{type(value).__name__}: {value!r}".partition(" object at ")[0]


class Recorder(Callback):
    """Records each call of Hydra, and how many calls this object has seen."""

    def __init__(self, label: str = "recorder") -> None:
        self.label = label
        self.calls: list[str] = []

    def _record(self, name: str, config: Any, job: Any = None, **more: Any) -> None:
        self.calls.append(name)
        seen = {
            "label": self.label,
            "calls": list(self.calls),
            "config": describe_config(config),
            "is set": HydraConfig.initialized(),
            "cwd": os.getcwd(),
        }
        write_event(name, {**seen, **more}, job)

    def on_run_start(self, config: Any, **more: Any) -> None:
        self._record("on_run_start", config, "run", more=plain(more))

    def on_run_end(self, config: Any, **more: Any) -> None:
        self._record("on_run_end", config, "run", more=plain(more))

    def on_multirun_start(self, config: Any, **more: Any) -> None:
        mode = config.hydra.mode == RunMode.MULTIRUN
        self._record("on_multirun_start", config, "launch", more=plain(more), mode=mode)

    def on_multirun_end(self, config: Any, **more: Any) -> None:
        self._record("on_multirun_end", config, "launch", more=plain(more))

    def on_job_start(self, config: Any, *, task_function: Any = None, **more: Any) -> None:
        task = [type(task_function).__name__, task_function.__qualname__, task_function.__module__]
        self._record("on_job_start", config, more=plain(more), task=task)

    def on_job_end(self, config: Any, job_return: Any, **more: Any) -> None:
        returned = {
            "overrides": job_return.overrides,
            "config": describe_config(job_return.cfg),
            "hydra config": describe_config(job_return.hydra_cfg),
            "working_dir": job_return.working_dir,
            "task_name": job_return.task_name,
            "status": job_return.status.name,
            "returned": describe_result(job_return._return_value),
        }
        self._record("on_job_end", config, more=plain(more), job_return=returned)
