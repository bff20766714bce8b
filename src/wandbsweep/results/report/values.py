"""Values as the page shows them: numbers that JSON can hold, and text."""

from __future__ import annotations

from typing import Any

from wandbsweep.results.terminal.tables import format_short
from wandbsweep.trial import is_number


def to_number(value: Any) -> int | float | None:
    """Return a number to eight digits; None for NaN and infinities, which JSON cannot hold."""
    if value is None or not is_number(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.8g}")


def to_text(value: Any) -> str:
    return format_short(value) if isinstance(value, float) else str(value)
