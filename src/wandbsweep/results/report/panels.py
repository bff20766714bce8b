"""The panels of the report.

This is the one place that names them. A new panel needs

1. a JavaScript file in this folder, which calls ``addPanel({id, nav, parts, draw})``: ``core.js`` documents what the
   panel adds to the page, and how it is drawn from ``data``;
2. an entry in ``PANELS`` below, at its position on the page. If the panel shows something that the common data
   (``data.py``) lack, the entry also has a key and a function that computes it from a ``SweepData``. The script reads
   the result as ``data.KEY``. JSON must be able to hold it: see ``values.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wandbsweep.results.report import panel_data
from wandbsweep.results.sweep_data import SweepData


@dataclass(frozen=True)
class Panel:
    """One panel of the page."""

    script: str
    """Its JavaScript file in this folder."""
    data: Mapping[str, Callable[[SweepData], Any]] = field(default_factory=dict)
    """By key, the functions that compute its own data."""


PANELS: Sequence[Panel] = (
    Panel("summary.js", {"best": panel_data.list_best, "savings": panel_data.build_savings}),
    Panel("parallel.js"),
    Panel("table.js"),
    Panel("importance.js", {"analysis": panel_data.build_analysis}),  # summary.js and effects.js read it as well
    Panel("progress.js"),
    Panel("curves.js"),
    Panel("front.js"),
    Panel("effects.js"),
    Panel("timeline.js", {"attempts": panel_data.list_attempt_rows}),
    Panel("failures.js", {"failures": panel_data.list_failures}),
    Panel("origin.js", {"sweep_file": panel_data.format_sweep, "versions": panel_data.read_versions}),
)
"""In the order of the page."""
