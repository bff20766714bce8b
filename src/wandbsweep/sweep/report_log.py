"""Files of a trial that are only shown: everything that it reported, with the times, and its page at W&B.

All decisions rest on the storage, which keeps the sweep's own metric by step, and of the others the last values. A
missing or damaged file only leaves something out of the report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wandbsweep.sweep.launch_record import HIDDEN


class LoggedReport(NamedTuple):
    """The metrics of one step."""

    at: float
    """When it was reported (Unix time, in seconds)."""
    metrics: dict[str, float]


def append_report(directory: Path | None, number: int, step: int, metrics: Mapping[str, float]) -> None:
    """Append a report of a trial; do nothing if the file cannot be written.

    Args:
        directory: The sweep's directory; None: the sweep is in memory, and nothing is kept.
        number: The trial's number.
        step: The step that it reports.
        metrics: All metrics of this step.
    """
    if directory is None or not metrics:
        return
    line = json.dumps([step, round(time.time(), 3), dict(metrics)], separators=(",", ":"))
    file = _locate(directory, number)
    with suppress(OSError):
        if not file.parent.exists():  # the sweep's own directory is not made again, in case it was removed
            file.parent.parent.mkdir(exist_ok=True)
            file.parent.mkdir(exist_ok=True)
        with open(file, "ab", buffering=0) as log:
            log.write(f"{line}\n".encode())


def read_report_log(directory: Path, number: int) -> dict[int, LoggedReport]:
    """Return the reports of a trial by step, in order. A later report of the same step adds to it, and replaces."""
    found: dict[int, LoggedReport] = {}
    with suppress(OSError):
        for line in _locate(directory, number).read_bytes().splitlines():
            with suppress(ValueError, TypeError):  # a line that was cut off
                step, at, metrics = json.loads(line)
                found[step] = LoggedReport(at, {**(found[step].metrics if step in found else {}), **metrics})
    return dict(sorted(found.items()))


def save_run_url(directory: Path, number: int, url: str | None) -> None:
    """Keep the address of the page that a trial's run has at W&B.

    Args:
        directory: The sweep's directory.
        number: The trial's number.
        url: The address; None: the run has no page, and nothing is kept.
    """
    if url is None:
        return
    file = _locate(directory, number).with_suffix(".url")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(url, encoding="utf-8")


def read_run_url(directory: Path, number: int) -> str | None:
    """Return what ``save_run_url`` has kept; None: nothing, or no address of a page."""
    try:
        url = _locate(directory, number).with_suffix(".url").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return url if url.startswith(("https://", "http://")) else None


def _locate(directory: Path, number: int) -> Path:
    return directory / HIDDEN / "reports" / f"{number}.jsonl"
