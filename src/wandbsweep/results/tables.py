"""A sweep as a person reads it in a terminal: leaderboard, best trial, one line of state."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wandbsweep.results.load import SweepResults
from wandbsweep.trial import TrialRecord

_PIPE_WIDTH = 200  # where there is no terminal to ask
_STYLES = {"finished": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "crashed": "red"}


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def leaderboard(results: SweepResults, *, top: int | None = None) -> Table:
    """The trials by value, the best first."""
    ranked = results.ranked[:top]
    swept = [name for name, p in results.spec.parameters.items() if p.distribution != "constant"]
    title = f"{len(ranked)} of {len(results.trials)} trials" if len(ranked) < len(results.trials) else None
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    metric = results.spec.metric.name if results.spec.metric else "value"
    for heading in ("trial", "state", metric, "steps", "time"):
        table.add_column(escape(heading), justify="left" if heading == "state" else "right", no_wrap=True)
    for name in swept:
        table.add_column(escape(name), overflow="fold")
    for trial in ranked:
        table.add_row(*_cells(trial, swept))
    return table


def _cells(trial: TrialRecord, swept: Sequence[str]) -> list[str]:
    style = _STYLES.get(trial.state, "dim")
    return [
        str(trial.number),
        f"[{style}]{trial.state}[/{style}]",
        short(trial.value),
        str(len(trial.reports)),
        "" if trial.duration_s is None else f"{trial.duration_s:.1f}s",
        *(escape(short(trial.params.get(name))) if name in trial.params else "" for name in swept),
    ]


def short(value: Any) -> str:
    """A value as a table shows it: numbers to five digits."""
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def state_line(results: SweepResults, total: int | None) -> str:
    """How far the sweep is: ``12/30 trials · 10 finished · 2 running · best val/loss 0.1 (trial 7)``."""
    ended = sum(n for state, n in results.counts.items() if state not in ("running", "queued"))
    parts = [f"{ended}/{total} trials" if total else f"{ended} trials"]
    parts += [f"{count} {state}" for state, count in results.counts.items()]
    best = results.best
    if best is not None:
        name = results.spec.metric.name if results.spec.metric else "value"
        parts.append(f"best {name} {short(best.value)} (trial {best.number})")
    return " · ".join(parts)


def print_best(results: SweepResults, out: Console) -> None:
    """The best trial, its parameters, and the command that trains it again."""
    best = results.best
    if best is None:
        out.print("No trial has a value yet.")
        return
    name = results.spec.metric.name if results.spec.metric else "value"
    out.print(f"[bold]Best[/bold]: trial {best.number}, {escape(name)} = {short(best.value)}")
    for parameter, value in best.params.items():
        shown = repr(value) if isinstance(value, str) else str(value)
        out.print(f"  {escape(parameter)} = {escape(shown)}", soft_wrap=True)
    out.print("Train it again:")
    out.print(f"  {escape(results.command(best))}", soft_wrap=True)
