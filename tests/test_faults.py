"""What is recognised of a task's exception, and of the kernel's counts."""

from __future__ import annotations

import gc
import math
import weakref
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

import wandbsweep
from wandbsweep.current import CurrentTrial
from wandbsweep.errors import DivergedError
from wandbsweep.faults import TaskWatch, drop_tracebacks, explain_kill, find_broken_device, release_task
from wandbsweep.memory import DEVICE_PEAK, HOST_PEAK, KernelKills, measure_peaks, reset_peaks

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB of which 1 MiB is free. "
    "Including non-PyTorch memory, this process has 79.14 GiB memory in use. Of the allocated memory 78.60 GiB is "
    "allocated by PyTorch, and 40.00 MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is "
    "large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for …"
)


def catch(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        MemoryError(),
        numpy._core._exceptions._ArrayMemoryError((10**12,), numpy.dtype("float64")),
        OSError(12, "Cannot allocate memory"),
        RuntimeError(
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        type("XlaRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor with shape[4096]"),
        type("CudaAPIError", (Exception,), {"__module__": "numba.cuda"})("[2] results in CUDA_ERROR_OUT_OF_MEMORY"),
        ExceptionGroup("two", [ValueError("one"), catch(MemoryError("other"))]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_out_of_memory_is_recognised(error: Exception, wrapped: bool) -> None:
    caught = catch(error)
    if wrapped:
        outer = ValueError("Error in call to target 'net'")
        outer.__cause__ = caught
        caught = catch(outer)
    fault = TaskWatch().explain(caught)
    assert fault.cause == "out of memory"
    assert fault.reason.startswith("out of memory: ")
    assert "(test_faults.py:" in fault.reason
    assert ", in catch); peak memory " in fault.reason
    assert "See documentation" not in fault.reason
    assert "\n" not in fault.reason
    assert fault.metrics[HOST_PEAK] > 10
    assert DEVICE_PEAK not in fault.metrics


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the user's own: out of memory bank 3"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(28, "No space left on device"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("no such key. See documentation for the others"),
    ],
)
def test_other_errors_are_not_out_of_memory(error: Exception) -> None:
    fault = TaskWatch().explain(catch(error))
    assert (fault.cause, fault.metrics) == ("", {})
    assert fault.reason == f"{type(error).__name__}: {error}"


def test_memory_that_torch_cannot_have_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    fault = TaskWatch().explain(caught.value)
    assert fault.cause == "out of memory"
    assert "you tried to allocate 1152921504606846976 bytes" in fault.reason


def test_a_gpu_that_others_fill_is_not_the_trials_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 1,
        max_memory_allocated=lambda device: 5 * 2**30,
        mem_get_info=lambda: (0, 80 * 2**30),
        memory_reserved=lambda device=None: 6 * 2**30,
    )
    monkeypatch.setattr(torch, "cuda", fake)
    fault = TaskWatch().explain(catch(torch.OutOfMemoryError(CUDA)))
    assert fault.cause == ""
    assert fault.reason.endswith("; other processes hold 74,752 of the GPU's 81,920 MiB")
    assert fault.metrics[DEVICE_PEAK] == 5 * 1024
    assert "; peak memory 5,120 MiB (GPU), " in fault.reason
    fake.memory_reserved = lambda device=None: 78 * 2**30
    assert TaskWatch().explain(catch(torch.OutOfMemoryError(CUDA))).cause == "out of memory"


def test_a_broken_gpu_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_broken_device() == ""  # it is not used

    def synchronize(device: int) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported")

    fake = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 2, memory_reserved=lambda d: d, synchronize=synchronize
    )
    monkeypatch.setattr(torch, "cuda", fake)
    assert find_broken_device().endswith("AcceleratorError: CUDA error: device-side assert triggered")
    fake.synchronize = lambda device: None
    assert find_broken_device() == ""


@pytest.mark.parametrize(
    ("loss", "text"),
    [(math.nan, "the loss is NaN at step 17"), (torch.tensor(math.inf), "the loss is infinite at step 17")],
)
def test_a_plain_loop_checks_its_loss(loss: Any, text: str) -> None:
    CurrentTrial().check_loss(17, loss)  # outside a sweep it does nothing
    trial = CurrentTrial(number=0)
    trial.check_loss(16, 0.5)
    with pytest.raises(DivergedError, match=text) as caught:
        trial.check_loss(17, loss)
    fault = TaskWatch().explain(caught.value)
    assert (fault.reason, fault.cause) == (f"diverged: {text}", "diverged")


def test_a_spawned_process_that_diverged_is_recognised() -> None:
    text = "-- Process 0 terminated\nTraceback:\n  x\nwandbsweep.errors.DivergedError: the loss is NaN at step 3\n"
    error = torch.multiprocessing.ProcessRaisedException(text, 0, 1)
    assert TaskWatch().explain(error).reason == "diverged: the loss is NaN at step 3"


def test_the_tensors_of_a_failed_task_are_released() -> None:
    """Also if they refer to each other, and if something holds the exception."""
    held: list[Any] = []

    def train() -> None:
        model = torch.nn.Linear(2, 2)
        model.trainer = SimpleNamespace(model=model)  # type: ignore[assignment]
        activations = model(torch.ones(2))
        held.extend([weakref.ref(model), weakref.ref(activations)])
        raise torch.OutOfMemoryError(CUDA)

    gc.disable()
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            train()
        assert all(ref() is not None for ref in held)
        release_task(caught.value)
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


def test_the_next_trial_of_an_agent_finds_the_memory_free(tmp_path: Path) -> None:
    refs: list[Any] = []

    def train(params: dict[str, Any]) -> float:
        assert [ref() for ref in refs] == [None] * len(refs)
        model = torch.nn.Linear(2, 2)
        model.trainer = SimpleNamespace(model=model)  # type: ignore[assignment]
        if params["x"] == 3:
            return 0.0
        refs.append(weakref.ref(model))
        raise torch.OutOfMemoryError(CUDA)

    space = {"method": "grid", "metric": {"name": "loss"}, "parameters": {"x": {"values": [1, 2, 3]}}}
    gc.disable()
    try:
        sweep = wandbsweep.optimize(train, space, path=tmp_path / "sweep")
    finally:
        gc.enable()
    assert len(refs) == 2
    assert [trial.cause for trial in sweep.trials] == ["out of memory", "out of memory", ""]


def test_the_peak_begins_with_the_task() -> None:
    block = bytearray(200 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    high = measure_peaks()[HOST_PEAK]
    del block
    reset_peaks()
    assert measure_peaks()[HOST_PEAK] < high - 150


class Machine:
    """A /proc and a /sys/fs/cgroup made of files."""

    def __init__(self, place: Path, groups: str) -> None:
        self.proc, self.mounts = place / "proc", place / "cgroup"
        self.write(self.proc / "self" / "cgroup", groups)

    def write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def watch(self) -> KernelKills:
        return KernelKills(proc=self.proc, mounts=self.mounts)


EVENTS = "low 0\nhigh 0\nmax 118\noom 2\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize("inside", [False, True])
def test_the_kernels_count_of_version_2(tmp_path: Path, inside: bool) -> None:
    """As SLURM's cgroup/v2 makes them; inside a container only the group itself is visible."""
    path = "system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
    machine = Machine(tmp_path, f"0::/{path}\n")
    group = machine.mounts if inside else machine.mounts / path
    machine.write(group / "memory.events", EVENTS.format(1))
    machine.write(group / "memory.max", "max\n")
    if not inside:
        machine.write(group.parents[2] / "memory.max", str(64 * 2**20))
    kills = machine.watch()
    assert explain_kill(kills, "its process was killed by SIGKILL", 60.0) is None
    machine.write(group / "memory.events", EVENTS.format(2))
    fault = explain_kill(kills, "its process was killed by SIGKILL", 60.0)
    assert fault is not None
    limit = "" if inside else " at a limit of 64 MiB"
    assert fault.reason == (
        f"out of memory (the kernel killed a process{limit}): its process was killed by SIGKILL; "
        "peak memory 60 MiB (host)"
    )
    assert fault.cause == ("" if inside else "out of memory")
    assert fault.metrics == {HOST_PEAK: 60.0}
    pool = catch(
        BrokenProcessPool("A process in the process pool was terminated abruptly while the future was running")
    )
    watch = TaskWatch()
    assert watch.explain(pool).cause == ""
    watch._kills = kills
    assert watch.explain(pool).reason.startswith("out of memory (the kernel killed a process")


def test_the_kernels_count_of_version_1_and_of_the_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "4:memory:/slurm/uid_0/job_7\n1:cpu,cpuacct:/\n0::/\n")
    machine.write(machine.proc / "vmstat", "nr_free_pages 7\noom_kill 3\n")
    of_machine = machine.watch()
    machine.write(machine.proc / "vmstat", "nr_free_pages 7\noom_kill 4\n")
    assert of_machine.describe_new() == "out of memory (the kernel killed a process)"
    group = machine.mounts / "memory/slurm/uid_0/job_7"
    machine.write(group / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    machine.write(group / "memory.limit_in_bytes", "9223372036854771712\n")
    machine.write(group.parent / "memory.limit_in_bytes", str(2**30))
    kills = machine.watch()
    assert (kills.describe_new(), kills.limit_mib) == ("", 1024)
    machine.write(group / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert kills.describe_new()


def test_an_error_without_its_traceback_keeps_nothing_of_who_called_the_task():
    class Config:
        pass

    def call():
        config = Config()
        held.append(weakref.ref(config))
        try:
            raise MemoryError
        except MemoryError as error:
            errors.append(error)
        release_task(errors[0])  # while this function still runs

    held, errors = [], []
    call()
    assert held[0]() is not None
    drop_tracebacks(errors[0])
    assert held[0]() is None
