"""Reads metrics from the lines that a program prints: ``val/loss=0.31 step=7``, or a JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandbsweep.programs.wandb_log import Row
from wandbsweep.trial import as_number

STEP = "step"
"""The name that says at which step the other metrics of a line were measured. Without it, lines are counted."""

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
_PAIR = re.compile(rf"([^\s=:,;|(){{}}\[\]\"']+)\s*[=:]\s*({_NUMBER})(?![\w.])", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LONGEST = 1 << 20
"""The most bytes of a line that are read: a program may print without ever ending a line."""


@dataclass
class PrintedMetrics:
    """Follows a file of printed lines."""

    path: Path
    wanted: Sequence[str]
    """The metrics of the sweep. A line without one of them is no report."""
    limited: Sequence[str] = ()
    """The metrics that have limits. A line with one of them, and none of ``wanted``, adds to the latest report."""
    offset: int = 0
    """How much of the file was read."""
    next_step: int = 0
    _rest: bytes = b""
    _patterns: dict[str, re.Pattern[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A name may have blanks, which separate names elsewhere.
        self._patterns = {
            name: re.compile(rf"(?<![\w/.]){re.escape(name)}\s*[=:]\s*({_NUMBER})(?![\w.])", re.IGNORECASE)
            for name in (*self.wanted, *self.limited)
        }

    def read(self, *, is_over: bool = False) -> list[Row]:
        """Return the rows in the lines that were printed since the last call.

        Args:
            is_over: Whether nothing more is printed, so that a last line without an end is complete.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(data)
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + data)  # progress bars return the carriage
        if is_over or len(self._rest) > _LONGEST:
            lines.append(self._rest)
            self._rest = b""
        rows = (self._parse(line.decode("utf-8", "replace")) for line in lines if line)
        return [row for row in rows if row]

    def _parse(self, line: str) -> Row | None:
        metrics = _parse_json(line) or self._parse_pairs(_COLOUR.sub("", line))
        is_report = any(name in metrics for name in self.wanted)
        if not is_report and not any(name in metrics for name in self.limited):
            return None
        given = metrics.pop(STEP, None) if STEP not in self.wanted else None
        counted = self.next_step if is_report else max(self.next_step - 1, 0)
        step = int(given) if given is not None and given.is_integer() and given >= 0 else counted
        if is_report:
            self.next_step = step + 1
        return Row(step, metrics)

    def _parse_pairs(self, line: str) -> dict[str, float]:
        found = {name: float(value) for name, value in _PAIR.findall(line)}
        named = ((name, pattern.search(line)) for name, pattern in self._patterns.items())
        return found | {name: float(match[1]) for name, match in named if match}


def _parse_json(line: str) -> dict[str, float]:
    """Return the numbers of a line that is a JSON object, by dotted name; empty: it is none."""
    text = line.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return {}
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return dict(_flatten(read))


def _flatten(read: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for key, value in read.items():
        if isinstance(value, dict):
            found += _flatten(value, f"{prefix}{key}.")
        elif (number := as_number(value)) is not None:
            found.append((f"{prefix}{key}", number))
    return found
