"""Peaks of memory, limits of memory, and the kernel's counts of the processes that it killed because memory ran out."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

HOST_PEAK, DEVICE_PEAK = "memory/host_peak_mib", "memory/device_peak_mib"
"""The names of the peaks as metrics."""

_MIB = 2**20
_UNLIMITED = 2**60  # version 1 of control groups writes a number near 2**63 if there is no limit


def measure_peaks() -> dict[str, float]:
    """Return the most memory, in MiB, that this process has used since ``reset_peaks``: of the host and of GPUs."""
    peaks = {}
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii")):
            peaks[HOST_PEAK] = int(found[1]) / 1024
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        with suppress(Exception):  # whatever a broken driver raises
            used = [cuda.max_memory_allocated(device) for device in range(cuda.device_count())]
            peaks[DEVICE_PEAK] = max(used) / _MIB
    return peaks


def reset_peaks() -> None:
    """Let the peak of the host's memory begin at what this process uses now. Torch's is reset after each trial."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class KernelKills:
    """Counts the processes that the kernel kills because memory runs out, from when this object is made.

    The count is that of this process's control group, as a SLURM job's step or a container has one; else the machine's.
    """

    def __init__(self, *, proc: Path = Path("/proc"), mounts: Path = Path("/sys/fs/cgroup")) -> None:
        self._source, self.limit_mib = _find_source(proc, mounts)
        self._count = self._read()

    def describe_new(self) -> str:
        """Say that the kernel has killed a process since then; empty: it has not."""
        if self._read() <= self._count:
            return ""
        limit = f" at a limit of {self.limit_mib:,.0f} MiB" if self.limit_mib else ""
        return f"out of memory (the kernel killed a process{limit})"

    def _read(self) -> int:
        if self._source is None:
            return 0
        with suppress(OSError):
            text = self._source.read_text(encoding="ascii")
            if found := re.search(r"^oom_kill (\d+)$", text, re.MULTILINE):
                return int(found[1])
        return 0


def _find_source(proc: Path, mounts: Path) -> tuple[Path | None, float | None]:
    """Return the file with the count of this process's control group, or else of the machine; and the group's limit."""
    groups: dict[str, str] = {}
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, names, group = line.split(":", 2)
            groups.update(dict.fromkeys(names.split(","), group.strip("/")))
    layouts: tuple[tuple[Path, str | None, str, str], ...] = (
        (mounts / "memory", groups.get("memory"), "memory.oom_control", "memory.limit_in_bytes"),  # version 1
        (mounts, groups.get(""), "memory.events", "memory.max"),
    )
    for root, path, count, limit in layouts:
        # Inside a container the path may be the one that holds outside; the container's own group is then the root.
        for place in (root / path, root) if path is not None else ():
            if (place / count).is_file():
                return place / count, _find_limit(place, root, limit)
    machine = proc / "vmstat"
    return (machine if machine.is_file() else None), None


def _find_limit(place: Path, root: Path, name: str) -> float | None:
    """Return the lowest limit, in MiB, of a control group and those that it lies in."""
    limits = []
    for group in (place, *place.parents):
        with suppress(OSError, ValueError):  # no limit is called "max"
            limits.append(int((group / name).read_text(encoding="ascii")))
        if group == root:
            break
    lowest = min(limits, default=_UNLIMITED)
    return lowest / _MIB if lowest < _UNLIMITED else None
