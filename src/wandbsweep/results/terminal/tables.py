"""A sweep as a person reads it in a terminal: leaderboard, best trial, one line of state."""

from __future__ import annotations

import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from wandbsweep.results.sweep_data import SweepData
from wandbsweep.text import pluralize
from wandbsweep.trial import TrialRecord

_PIPE_WIDTH = 200  # where there is no terminal to ask
_STYLES = {"finished": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "crashed": "red"}
_GAP = 2  # blanks between columns
_LEAST = 20  # columns for the parameters, however narrow the terminal is


def console() -> Console:
    asked = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return Console(width=None if asked else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def print_leaderboard(data: SweepData, out: Console, *, top: int | None = None, hint: str = "") -> None:
    """The trials by value, the best first: a column for each parameter if they fit, else one for all.

    ``hint`` stands beside the title, which tells how many trials are left out. Laid out by hand, since rich takes
    seconds for some thousands of rows.
    """
    ranked = data.ranked[:top]
    if len(ranked) < len(data.trials):
        out.print(Text(f"{len(ranked)} of {len(data.trials)} trials{hint}", "italic"), soft_wrap=True)
    names = short_names(_swept(data))
    head = [_Cell(heading, "bold", right=heading != "state") for heading in _headings(data)]
    rows = [_cells(trial, data) for trial in ranked]
    shown = [{name: short(trial.params[name]) for name in names if name in trial.params} for trial in ranked]
    wide = [[_Cell(values.get(name, "")) for name in names] for values in shown]
    table = [
        [*head, *(_Cell(heading, "bold") for heading in names.values())],
        *(row + own for row, own in zip(rows, wide, strict=True)),
    ]
    widths = _widths(table)
    if sum(widths) + _GAP * (len(widths) - 1) > out.width:
        texts = [" ".join(f"{names[name]}={value}" for name, value in values.items()) for values in shown]
        table = [
            [*head, _Cell("parameters", "bold")],
            *([*row, _Cell(text)] for row, text in zip(rows, texts, strict=True)),
        ]
        room = max(_LEAST, out.width - sum(widths[: len(head)]) - _GAP * len(head))
        widths = [*widths[: len(head)], room]
    lines = [line for row in table for line in _lines(row, widths)]
    out.print(Text("\n").join(lines), soft_wrap=True)


class _Cell(NamedTuple):
    text: str
    style: str = ""
    right: bool = False
    """Whether its column is aligned to the right."""


def _headings(data: SweepData) -> list[str]:
    spec = data.spec
    metrics = [metric.name for metric in spec.metrics] or [spec.metric.name if spec.metric else "value"]
    return ["trial", "state", *metrics, *(["mean"] if spec.repeats else []), "steps", "time"]


def _widths(table: Sequence[Sequence[_Cell]]) -> list[int]:
    return [max(cell_len(cell.text) for cell in column) for column in zip(*table, strict=True)]


def _lines(row: Sequence[_Cell], widths: Sequence[int]) -> Iterator[Text]:
    """A row, of several lines where the last cell is wider than its column; without blanks at its ends."""
    *cells, last = row
    line = Text()
    for cell, width in zip(cells, widths, strict=False):
        blanks = " " * (width - cell_len(cell.text))
        line.append(blanks if cell.right else "").append(cell.text, cell.style)
        line.append(" " * _GAP if cell.right else blanks + " " * _GAP)
    first, *others = textwrap.wrap(last.text, widths[-1], break_on_hyphens=False) or [""]
    yield _stripped(line.append(first, last.style))
    for text in others:
        yield Text(" " * (sum(widths[:-1]) + _GAP * len(cells)) + text, last.style)


def _stripped(line: Text) -> Text:
    line.rstrip()
    return line


def _swept(data: SweepData) -> list[str]:
    swept = [name for name, p in data.spec.parameters.items() if p.distribution != "constant"]
    return [*swept, data.spec.repeats.parameter] if data.spec.repeats else swept


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each dotted name's shortest end that no other has: ``lr`` for ``optimizer.lr``."""
    ends = {name: [name.split(".", depth)[-1] for depth in range(name.count("."), -1, -1)] for name in names}
    taken = Counter(end for found in ends.values() for end in found)
    return {name: next(end for end in found if taken[end] == 1 or end == name) for name, found in ends.items()}


def _cells(trial: TrialRecord, data: SweepData) -> list[_Cell]:
    spec = data.spec
    values = [trial.metrics.get(metric.name) for metric in spec.metrics] or [trial.value]
    if spec.repeats:
        configuration = data.find_configuration(trial)
        values.append(configuration.mean if configuration else None)
    time = "" if trial.duration_s is None else f"{trial.duration_s:.1f}s"
    numbers = [*map(short, values), str(len(trial.reports)), time]
    return [
        _Cell(str(trial.number), right=True),
        _Cell(trial.state, _STYLES.get(trial.state, "dim")),
        *(_Cell(number, right=True) for number in numbers),
    ]


def short(value: Any) -> str:
    """A value as a table shows it: numbers to five digits."""
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def state_line(data: SweepData, total: int | None) -> str:
    """How far the sweep is: ``12/30 trials · 10 finished · 2 running · best val/loss 0.1 (trial 7)``."""
    ended = sum(n for state, n in data.counts.items() if state not in ("running", "queued"))
    parts = [f"{ended}/{total} trials" if total else pluralize(ended, "trial")]
    parts += [f"{count} {state}" for state, count in data.counts.items()]
    if data.spec.metrics:
        parts.append(f"{len(data.front)} on the Pareto front")
    elif data.best is not None:
        parts.append(f"best {achieved(data, data.best)} (trial {data.best.number})")
    return " · ".join(parts)


def achieved(data: SweepData, trial: TrialRecord) -> str:
    """What a trial reached, with the names of the metrics: ``val/loss 0.1``."""
    spec = data.spec
    if spec.metrics:
        return ", ".join(f"{metric.name} {short(trial.metrics.get(metric.name))}" for metric in spec.metrics)
    name = spec.metric.name if spec.metric else "value"
    configuration = data.find_configuration(trial)
    if configuration is None or configuration.mean is None:
        return f"{name} {short(trial.value)}"
    spread = "" if configuration.deviation is None else f" ± {short(configuration.deviation)}"
    runs = len(configuration.values)
    return f"{name} {short(configuration.mean)}{spread}, the mean of {pluralize(runs, 'run')}"


def print_best(data: SweepData, out: Console) -> None:
    """The best trial, or each on the Pareto front: its parameters, and the command that trains it again."""
    best = data.front if data.spec.metrics else [data.best] if data.best else []
    if not best:
        out.print("No trial has a value yet.")
    for trial in best:
        out.print(f"[bold]Best[/bold]: trial {trial.number}, {escape(achieved(data, trial))}")
        for parameter, value in trial.params.items():
            shown = repr(value) if isinstance(value, str) else str(value)
            out.print(f"  {escape(parameter)} = {escape(shown)}", soft_wrap=True)
        out.print("Train it again:")
        out.print(f"  {escape(data.command(trial))}", soft_wrap=True)
