"""What ``wandbsweep evaluate`` prints of its runs while they train."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wandbsweep.cli.evaluation.callback import FILE

_POLL_S = 1.0
_QUIET_S = 10.0
"""The least time between two lines about a run that trains."""


def follow_runs(
    process: subprocess.Popen[bytes], directory: Path, names: Sequence[str], metric: str, say: Callable[[str], None]
) -> None:
    """Wait for the command that makes the runs, and ``say`` when each starts, how far it is, and what it measured.

    Args:
        process: The command.
        directory: Where the runs' directories lie: a number each, in the order of ``names``.
        names: What each run is called.
        metric: What is measured. It is shown if a run has reported it, else the first metric that was.
        say: Gets each line.
    """
    runs = [_Run(name, directory / str(number) / FILE, metric) for number, name in enumerate(names)]
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
        ended = process.returncode is not None
        for run in runs:
            for line in run.list_news():
                say(line)
        if ended:
            return


class _Run:
    """A run of the evaluation, and what was already said of it."""

    def __init__(self, name: str, file: Path, metric: str) -> None:
        self._name, self._file, self._metric = name, file, metric
        self._began = self._said_at = 0.0
        self._said: Any = None
        self._ended = False

    def list_news(self) -> Iterator[str]:
        """Yield the lines about what has happened since the last call."""
        found = read_json(self._file)
        if found is None or self._ended:
            return
        now = time.monotonic()
        if not self._began:
            self._began = self._said_at = now
            yield f"  {self._name}: started"
        if found.get("ended"):
            self._ended = True
            value = found.get("value")
            measured = "no value" if value is None else f"{self._metric} {value:.5g}"
            yield f"  {self._name}: {measured} after {now - self._began:.0f} s"
        elif (step := found.get("step")) is not None and step != self._said and now - self._said_at >= _QUIET_S:
            self._said, self._said_at = step, now
            yield f"  {self._name}: step {step}{self._describe_metric(found.get('reported') or {})}"

    def _describe_metric(self, reported: Mapping[str, Any]) -> str:
        name = self._metric if self._metric in reported else next(iter(reported), None)
        value = reported.get(name) if name else None
        return f", {name} {value:.5g}" if isinstance(value, int | float) else ""


def read_json(file: Path) -> dict[str, Any] | None:
    """Return what the JSON in ``file`` holds; None if it cannot be read, or holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
