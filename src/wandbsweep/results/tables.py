"""A sweep as a person reads it in a terminal: leaderboard, best trial, one line of state."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from wandbsweep.results.load import SweepResults
from wandbsweep.trial import TrialRecord

_PIPE_WIDTH = 200  # where there is no terminal to ask
_UNBOUNDED = 10_000  # columns, to ask a table how wide it would like to be
_STYLES = {"finished": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "crashed": "red"}


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def print_leaderboard(results: SweepResults, out: Console, *, top: int | None = None) -> None:
    """The trials by value, the best first: a column for each parameter if they fit, else one for all."""
    table = _leaderboard(results, top, in_columns=True)
    if Measurement.get(out, out.options.update(max_width=_UNBOUNDED), table).maximum > out.width:
        table = _leaderboard(results, top, in_columns=False)
    out.print(table)


def _leaderboard(results: SweepResults, top: int | None, *, in_columns: bool) -> Table:
    ranked = results.ranked[:top]
    names = _short_names(_swept(results))
    title = f"{len(ranked)} of {len(results.trials)} trials" if len(ranked) < len(results.trials) else None
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    several = [metric.name for metric in results.spec.metrics]
    metrics = several or [results.spec.metric.name if results.spec.metric else "value"]
    means = ["mean"] if results.spec.repeats else []
    for heading in ("trial", "state", *metrics, *means, "steps", "time"):
        table.add_column(escape(heading), justify="left" if heading == "state" else "right", no_wrap=True)
    for heading in names.values() if in_columns else ["parameters"]:
        table.add_column(escape(heading), overflow="fold", no_wrap=in_columns)
    for trial in ranked:
        values = [trial.metrics.get(name) for name in several] or [trial.value]
        if results.spec.repeats:
            configuration = results.configuration_of(trial)
            values.append(configuration.mean if configuration else None)
        shown = {name: escape(short(trial.params[name])) for name in names if name in trial.params}
        cells = [shown.get(name, "") for name in names]
        if not in_columns:
            cells = [" ".join(f"{escape(names[name])}={value}" for name, value in shown.items())]
        table.add_row(*_cells(trial, values), *cells)
    return table


def _swept(results: SweepResults) -> list[str]:
    swept = [name for name, p in results.spec.parameters.items() if p.distribution != "constant"]
    return [*swept, results.spec.repeats.parameter] if results.spec.repeats else swept


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Each dotted name's shortest end that no other has: ``lr`` for ``optimizer.lr``."""
    ends = {name: [name.split(".", depth)[-1] for depth in range(name.count("."), -1, -1)] for name in names}
    taken = Counter(end for found in ends.values() for end in found)
    return {name: next(end for end in found if taken[end] == 1 or end == name) for name, found in ends.items()}


def _cells(trial: TrialRecord, values: Sequence[float | None]) -> list[str]:
    style = _STYLES.get(trial.state, "dim")
    return [
        str(trial.number),
        f"[{style}]{trial.state}[/{style}]",
        *map(short, values),
        str(len(trial.reports)),
        "" if trial.duration_s is None else f"{trial.duration_s:.1f}s",
    ]


def short(value: Any) -> str:
    """A value as a table shows it: numbers to five digits."""
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def counted(count: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def state_line(results: SweepResults, total: int | None) -> str:
    """How far the sweep is: ``12/30 trials · 10 finished · 2 running · best val/loss 0.1 (trial 7)``."""
    ended = sum(n for state, n in results.counts.items() if state not in ("running", "queued"))
    parts = [f"{ended}/{total} trials" if total else counted(ended, "trial")]
    parts += [f"{count} {state}" for state, count in results.counts.items()]
    if results.spec.metrics:
        parts.append(f"{len(results.front)} on the Pareto front")
    elif results.best is not None:
        parts.append(f"best {achieved(results, results.best)} (trial {results.best.number})")
    return " · ".join(parts)


def achieved(results: SweepResults, trial: TrialRecord) -> str:
    """What a trial reached, with the names of the metrics: ``val/loss 0.1``."""
    spec = results.spec
    if spec.metrics:
        return ", ".join(f"{metric.name} {short(trial.metrics.get(metric.name))}" for metric in spec.metrics)
    name = spec.metric.name if spec.metric else "value"
    configuration = results.configuration_of(trial)
    if configuration is None or configuration.mean is None:
        return f"{name} {short(trial.value)}"
    spread = "" if configuration.deviation is None else f" ± {short(configuration.deviation)}"
    runs = len(configuration.values)
    return f"{name} {short(configuration.mean)}{spread}, the mean of {counted(runs, 'run')}"


def print_best(results: SweepResults, out: Console) -> None:
    """The best trial, or each on the Pareto front: its parameters, and the command that trains it again."""
    best = results.front if results.spec.metrics else [results.best] if results.best else []
    if not best:
        out.print("No trial has a value yet.")
    for trial in best:
        out.print(f"[bold]Best[/bold]: trial {trial.number}, {escape(achieved(results, trial))}")
        for parameter, value in trial.params.items():
            shown = repr(value) if isinstance(value, str) else str(value)
            out.print(f"  {escape(parameter)} = {escape(shown)}", soft_wrap=True)
        out.print("Train it again:")
        out.print(f"  {escape(results.command(trial))}", soft_wrap=True)
