"""What a Hydra application needs to run under W&B's own agent (``wandb agent``)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from wandbsweep.sweep.override_strings import format_value
from wandbsweep.wandb_runs.sweep_run import PARAM_PATH, RUN_ID, SWEEP_ID, read_params


def restore_overrides(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that ``wandb agent`` gave to a Hydra application, with every value restored.

    W&B's agent writes values with Python's ``str``: null becomes the text None, and text stays unquoted. The parameter
    file keeps them as they are, so each ``name=…`` of a parameter (also after ``++`` or ``--``) is written again in
    Hydra's grammar, and the parameters that the command left out are added. Outside W&B's agents, nothing changes.
    """
    path = os.environ.get(PARAM_PATH)
    in_sweep = os.environ.get(SWEEP_ID) and os.environ.get(RUN_ID)
    if not path or not in_sweep or not os.path.exists(path):
        return list(arguments)
    remaining = read_params(path)
    found = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        name = key.lstrip("+-")
        if equals and name in remaining:
            prefix = "" if key.startswith("--") else key[: len(key) - len(name)]
            argument = f"{prefix}{name}={format_value(remaining.pop(name))}"
        found.append(argument)
    return found + [f"{name}={format_value(value)}" for name, value in remaining.items()]


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGUSR2 end the process through Python for a ``with`` block, so that unsent history is sent.

    SIGUSR2, which batch systems send before a time limit, also marks the run, so that W&B queues it again. Signals that
    already have a handler keep it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_IGN)  # a second signal must not interrupt the exit
        run = getattr(sys.modules.get("wandb"), "run", None)
        if signum == signal.SIGUSR2 and run is not None:
            run.mark_preempting()
        raise SystemExit(128 + signum)

    unhandled = [s for s in (signal.SIGTERM, signal.SIGUSR2) if signal.getsignal(s) is signal.SIG_DFL]
    for signum in unhandled:
        signal.signal(signum, leave)
    try:
        yield
    finally:
        for signum in unhandled:
            with suppress(ValueError):
                signal.signal(signum, signal.SIG_DFL)
