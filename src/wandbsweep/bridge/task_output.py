"""Sends what a trial prints to its log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


@contextmanager
def send_output_to_log() -> Iterator[None]:
    """For a ``with`` block, send the output of this process and of those that it starts to the current job's log.

    Lines that Hydra's logging also writes to a file are not printed.
    """
    job = HydraConfig.get()
    handlers = logging.root.handlers
    logs = any(isinstance(handler, logging.FileHandler) for handler in handlers)
    consoles = [handler for handler in handlers if logs and type(handler) is logging.StreamHandler]
    path = Path(job.runtime.output_dir, f"{job.job.name}.log")
    before = {number: os.dup(number) for number in (1, 2)}
    with open(path, "ab") as file:
        _switch({number: file.fileno() for number in before})
    for handler in consoles:
        logging.root.removeHandler(handler)
    try:
        yield
    finally:
        for handler in consoles:
            logging.root.addHandler(handler)
        _switch(before)
        for copy in before.values():
            os.close(copy)


def _switch(descriptors: dict[int, int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed
            stream.flush()
    for number, target in descriptors.items():
        os.dup2(target, number)
