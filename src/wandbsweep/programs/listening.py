"""Reads the metrics of a program that runs: from the logs of its W&B runs, or from the lines that it prints."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wandbsweep.programs.printed import PrintedMetrics
from wandbsweep.programs.wandb_log import LogFollower, Row, find_open_logs, list_logs
from wandbsweep.text import join_words

log = logging.getLogger(__name__)

_SEARCH_S = 0.5
"""How often to look for logs in other directories than the trial's, while there is none."""
_LATE_S = 5.0
"""How late a row may come before the user is warned."""


@dataclass
class WandbListener:
    """Reads what a program logs to W&B, in all the runs that it starts."""

    directory: Path
    """The ``wandb`` directory below ``WANDB_DIR``."""
    marker: bytes
    """What the environment of the program's processes holds, and of no others."""
    others: frozenset[Path] = frozenset()
    """Logs of earlier attempts."""
    followers: dict[Path, LogFollower] = field(default_factory=dict)
    _next_search: float = 0.0
    _is_late: bool = False

    def read(self, *, is_over: bool = False) -> list[Row]:
        """Return the rows that were logged since the last call, in the order of the runs."""
        for path in self._find_logs(is_over=is_over):
            self.followers.setdefault(path, LogFollower(path))
        rows = [row for follower in self.followers.values() for row in follower.read()]
        if not is_over:
            self._warn_if_late(rows)
        return rows

    def find_summary(self, metric: str) -> float | None:
        """Return the value of ``metric`` in a run's summary; None: there is none."""
        values = [follower.summary[metric] for follower in self.followers.values() if metric in follower.summary]
        return values[-1] if values else None

    def describe_fault(self) -> str:
        """Return what could not be read of the logs; empty: all was understood."""
        faults = [follower.fault for follower in self.followers.values() if follower.fault]
        for follower in self.followers.values():
            if follower.unknown and not follower.rows:
                kinds = join_words([f"{kind} ({count} times)" for kind, count in sorted(follower.unknown.items())])
                faults.append(f"{follower.path.name}: it holds no history, but records of the unknown kinds {kinds}")
        return "; ".join(faults)

    def _find_logs(self, *, is_over: bool) -> Sequence[Path]:
        found = [path for path in list_logs(self.directory) if path not in self.others]
        if not found and not self.followers and (is_over or time.monotonic() >= self._next_search):
            self._next_search = time.monotonic() + _SEARCH_S
            found = find_open_logs(self.marker)
        return found

    def _warn_if_late(self, rows: Sequence[Row]) -> None:
        """Warn once if the client writes its log so late that early termination would be late too."""
        now = time.time()
        late = max((now - row.logged_at for row in rows if row.logged_at is not None), default=0.0)
        if late > _LATE_S and not self._is_late:
            self._is_late = True
            log.warning(
                "W&B's client wrote what was logged %.0f s late. Does this version of it know "
                "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL? Early termination is as late.",
                late,
            )


class PrintListener:
    """Reads the metrics that a program prints."""

    def __init__(self, path: Path, wanted: Sequence[str], limited: Sequence[str] = ()) -> None:
        """Listen to what a program is about to print.

        Args:
            path: The file that it prints to; what it holds already does not count.
            wanted: The metrics of the sweep.
            limited: The metrics that have limits.
        """
        size = path.stat().st_size if path.exists() else 0
        self._printed = PrintedMetrics(path, wanted, limited, offset=size)

    def read(self, *, is_over: bool = False) -> list[Row]:
        """Return the rows that were printed since the last call."""
        return self._printed.read(is_over=is_over)

    def find_summary(self, metric: str) -> float | None:
        return None

    def describe_fault(self) -> str:
        return ""
