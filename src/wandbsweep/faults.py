"""Why a task failed: its exception, memory that ran out, a training that diverged, a GPU that its process broke.

This package does not import torch, and a task need not. So exceptions of other libraries are recognised by the names of
their classes and by their messages, and torch is used only if the task has imported it.
"""

from __future__ import annotations

import errno
import gc
import math
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from wandbsweep.errors import DivergedError
from wandbsweep.memory import DEVICE_PEAK, HOST_PEAK, KernelKills, measure_peaks, reset_peaks
from wandbsweep.text import describe_error
from wandbsweep.trial import Cause

_NAMES = ("OutOfMemoryError", "ResourceExhaustedError")  # torch's and CuPy's; TensorFlow's
_LIBRARIES = ("torch", "jax", "jaxlib", "tensorflow", "numba", "cupy")
_TEXT = re.compile(
    r"out of memory|can(?:no|')t allocate memory|not enough memory|_ALLOC_FAILED|ALLOCATION_FAILED|RESOURCE_EXHAUSTED"
    r"|bad_alloc|OUT_OF_\w*MEMORY",
    re.IGNORECASE,
)
_KILLED = re.compile(r"killed by signal: (?:Killed|SIGKILL)|terminated by signal SIGKILL|terminated abruptly|SIGKILL")
"""What is raised if a process of the task was killed: DataLoader's, torch.multiprocessing's, a pool's, joblib's."""
_ADVICE = re.compile(
    r" (?:If reserved but unallocated memory is large|CUDA kernel errors might be|See documentation).*"
)
_REMOTE = re.compile(r"^(?:[\w.]*\.)?DivergedError: (.*)$", re.MULTILINE)
_CONTEXT_MIB = 1024.0  # the GPU memory that a process uses besides torch's, at most
_SHARED = 0.25  # if other processes hold at least this share of the GPU, they are to blame when memory runs out
_PACKAGES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


@dataclass(frozen=True)
class Fault:
    """Why a task failed."""

    reason: str
    """In one line."""
    cause: Cause = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The peaks of memory, if it ran out."""


class TaskWatch:
    """Watches a task from its start, to tell why it failed."""

    def __init__(self) -> None:
        reset_peaks()
        self._kills = KernelKills()

    def explain(self, error: BaseException) -> Fault:
        """Return why the task raised ``error``. To be called before what the task has allocated is released."""
        for found in _list_chain(error):
            if (text := _find_divergence(found)) is not None:
                return Fault(f"diverged: {text}", "diverged")
            if _is_out_of_memory(found):
                return _explain_out_of_memory(found)
            if _KILLED.search(_read_message(found)) and (how := self._kills.describe_new()):
                peaks = measure_peaks()
                return Fault(f"{how}: {describe_error(found)}{_describe_peaks(peaks)}", "out of memory", peaks)
        return Fault(describe_error(error))


def explain_kill(kills: KernelKills, status: str, peak_mib: float | None) -> Fault | None:
    """Return why a trial's process was killed, if the kernel killed it because memory ran out; None: it did not.

    Args:
        kills: The kernel's count from before the process was started.
        status: How the process ended.
        peak_mib: The most memory that it used; None: unknown.
    """
    how = kills.describe_new()
    if not how:
        return None
    peaks = {} if peak_mib is None else {HOST_PEAK: peak_mib}
    # Without a limit of its own the kernel may have chosen the process for what others used.
    return Fault(f"{how}: {status}{_describe_peaks(peaks)}", "out of memory" if kills.limit_mib else "", peaks)


def explain_output(reason: str, output: str) -> Fault:
    """Return why a program failed, by the last lines that it wrote to standard error.

    Args:
        reason: How its process ended.
        output: Its last lines.
    """
    *_, last = [line.strip() for line in output.splitlines() if line.strip()] or [""]
    reason = f"{reason}: {last}" if last else reason
    if found := _REMOTE.search(output):
        return Fault(f"diverged: {found[1]}", "diverged")
    name = last.partition(":")[0].rpartition(".")[2]
    if name in (*_NAMES, "MemoryError") or _TEXT.search(last):
        return Fault(f"out of memory: {reason}", "out of memory")
    return Fault(reason)


def release_task(error: BaseException | None) -> None:
    """Let go of the task's local variables, its model among them, which an error keeps for as long as it exists."""
    for found in _list_chain(error) if error is not None else ():
        traceback.clear_frames(found.__traceback__)
    gc.collect()  # a model and its trainer refer to each other
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        with suppress(Exception):  # the task may have broken the GPU
            cuda.empty_cache()


def drop_tracebacks(error: BaseException) -> None:
    """Let go of the frames that an error holds, those of the task's callers included.

    A frame refers to its caller's. The callers still ran when ``release_task`` cleared the others, and they have the
    trial's configuration.
    """
    for found in _list_chain(error):
        found.__traceback__ = None


def find_broken_device() -> str:
    """Return why this process cannot use the GPU any more; empty: it can, or does not.

    After an assertion in a kernel, an illegal access or a fault of the memory, each further call fails, until the
    process ends.
    """
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return ""
    try:
        for device in range(cuda.device_count()):
            if cuda.memory_reserved(device):  # others would get a context only to be asked
                cuda.synchronize(device)
    except Exception as error:  # of the driver, by classes that differ between versions
        return _ADVICE.sub("", describe_error(error))
    return ""


def check_loss(loss: float, step: int, epoch: int | None = None) -> None:
    """Raise DivergedError if ``loss`` is NaN or infinite.

    Args:
        loss: The value.
        step: The step, from 0, that computed it.
        epoch: The epoch, from 0.
    """
    if not math.isfinite(loss):
        raise DivergedError(describe_loss(loss, step, epoch))


def describe_loss(loss: float, step: int, epoch: int | None = None) -> str:
    """Return what is wrong with a loss: ``the loss is NaN at step 17 (epoch 0)``."""
    what = "NaN" if math.isnan(loss) else "infinite"
    return f"the loss is {what} at step {step}" + ("" if epoch is None else f" (epoch {epoch})")


def _list_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error``, what it was raised from, and what groups hold."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop(0)
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__]
        waiting += found.exceptions if isinstance(found, BaseExceptionGroup) else ()


def _read_message(error: BaseException) -> str:
    """Return the exception's text; empty if it cannot write itself."""
    try:
        return str(error)
    except Exception:  # of any kind: it is the task's class
        return ""


def _find_divergence(error: BaseException) -> str | None:
    if isinstance(error, DivergedError):
        return " ".join(_read_message(error).split())
    # torch.multiprocessing.spawn passes a process's exception on as text.
    is_remote = type(error).__name__ == "ProcessRaisedException"
    remote = _REMOTE.search(_read_message(error)) if is_remote else None
    return remote[1] if remote else None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    kind = type(error)
    is_library = kind.__module__.partition(".")[0] in _LIBRARIES
    has_words = (isinstance(error, RuntimeError) or is_library) and _TEXT.search(_read_message(error))
    return kind.__name__ in _NAMES or bool(has_words)


def _explain_out_of_memory(error: BaseException) -> Fault:
    peaks, others = measure_peaks(), _describe_others()
    line = _ADVICE.sub("", describe_error(error))
    where = _find_line(error)
    reason = f"out of memory: {line}{where}{_describe_peaks(peaks)}{others}"
    return Fault(reason, "" if others else "out of memory", peaks)


def _find_line(error: BaseException) -> str:
    """Return which line of the application asked for the memory: `` (train.py:33, in forward)``."""
    own = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((*_PACKAGES, "<frozen"))
    ]
    if not own:
        return ""
    frame, line = own[-1]
    return f" ({os.path.basename(frame.f_code.co_filename)}:{line}, in {frame.f_code.co_name})"


def _describe_peaks(peaks: Mapping[str, float]) -> str:
    names = {DEVICE_PEAK: "GPU", HOST_PEAK: "host"}
    parts = [f"{peaks[name]:,.0f} MiB ({where})" for name, where in names.items() if name in peaks]
    return f"; peak memory {', '.join(parts)}" if parts else ""


def _describe_others() -> str:
    """Return how much of the GPU other processes hold; empty: too little to be to blame, or unknown."""
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return ""
    try:
        free, total = cuda.mem_get_info()
        others = (total - free - cuda.memory_reserved()) / 2**20 - _CONTEXT_MIB
    except Exception:  # the driver cannot tell
        return ""
    if others < _SHARED * total / 2**20:
        return ""
    return f"; other processes hold {others:,.0f} of the GPU's {total / 2**20:,.0f} MiB"
