"""A sweep as a notebook shows it."""

from __future__ import annotations

from html import escape

from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import build_leaderboard, format_progress


def render_table(data: SweepData, *, top: int) -> str:
    """Return an HTML table of the ``top`` best trials, with the counts below it."""
    head, *rows = build_leaderboard(data, top=top)
    headings = "".join(f"<th>{escape(cell.text)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell.text)}</td>" for cell in row) + "</tr>" for row in rows)
    more = len(data.trials) - len(rows)
    counts = format_progress(data, data.cap) + (f" · {more} more rows" if more else "")
    return f"<table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table><p>{escape(counts)}</p>"
