"""A sweep in a terminal: the leaderboard, the best trial, and a line of progress."""

from __future__ import annotations

import io
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

from wandbsweep.results.doubts import describe_doubt, find_finished_best
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.text import escape_surrogates, pluralize, show_name
from wandbsweep.trial import FAILED, TrialRecord

_PIPE_WIDTH = 200
"""The width of the output if it is no terminal."""
_STYLES = {
    "finished": "green",
    "running": "cyan",
    "stopped": "yellow",
    "frozen": "blue",
    "failed": "red",
    "crashed": "red",
}
_GAP = 2  # blanks between columns
_FAILURES = 10  # how many reasons the table lists
_MIN_WIDTH = 20  # of the column of parameters, however narrow the terminal is


def make_console() -> Console:
    """Return a console on standard output, wide enough that a pipe gets whole lines."""
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return Console(width=None if has_width else _PIPE_WIDTH, highlight=False, soft_wrap=False)


class Cell(NamedTuple):
    """A cell of the leaderboard."""

    text: str
    style: str = ""
    right: bool = False
    """Whether its column is aligned to the right."""


def print_leaderboard(data: SweepData, out: Console, *, top: int | None = None, hint: str = "") -> None:
    """Print the trials by value, the best first.

    Each parameter gets a column if all of them fit, else one column holds them all. The layout is done here, since
    rich's own tables take seconds for some thousands of rows.

    Args:
        data: The sweep.
        out: Where to print.
        top: How many trials to print; None prints all.
        hint: Text for the title, which appears if trials are left out.
    """
    table = build_leaderboard(data, top=top)
    if len(table) - 1 < len(data.trials):
        out.print(Text(f"{len(table) - 1} of {len(data.trials)} trials{hint}", "italic"), soft_wrap=True)
    widths = [max(cell_len(cell.text) for cell in column) for column in zip(*table, strict=True)]
    if sum(widths) + _GAP * (len(widths) - 1) > out.width:
        fixed = len(widths) - len(list_varied_parameters(data))
        head, *rows = table
        joined = [
            " ".join(
                f"{name.text}={cell.text}" for name, cell in zip(head[fixed:], row[fixed:], strict=True) if cell.text
            )
            for row in rows
        ]
        texts = ["parameters", *joined]
        table = [[*row[:fixed], Cell(text, row[-1].style)] for row, text in zip(table, texts, strict=True)]
        room = max(_MIN_WIDTH, out.width - sum(widths[:fixed]) - _GAP * fixed)
        widths = [*widths[:fixed], room]
    out.print(Text("\n").join(line for row in table for line in lay_out_row(row, widths)), soft_wrap=True)


def print_failures(data: SweepData, out: Console) -> None:
    """Print why trials failed, crashed or are infeasible.

    Of those with a known cause it is how many there are, of the others the first.
    """
    failed = [trial for trial in data.trials if trial.state in FAILED]
    causes = Counter(trial.cause for trial in failed if trial.cause)
    lines = [f"{count} failed: {cause}" for cause, count in causes.items()]
    lines += [f"trial {trial.number} {trial.state}: {trial.reason}" for trial in failed[:_FAILURES]]
    if len(failed) > _FAILURES:
        lines.append(f"and {len(failed) - _FAILURES} more; --json has all reasons")
    infeasible = {trial.number: reason for trial in data.trials if (reason := data.spec.describe_infeasibility(trial))}
    lines += [f"trial {number} infeasible: {reason}" for number, reason in list(infeasible.items())[:_FAILURES]]
    if len(infeasible) > _FAILURES:
        lines.append(f"and {len(infeasible) - _FAILURES} more infeasible ones; --json has all reasons")
    if lines:
        out.print()
    for line in lines:
        out.print(escape_surrogates(line), markup=False, soft_wrap=True)


def build_leaderboard(data: SweepData, *, top: int | None = None) -> list[list[Cell]]:
    """Return the headings, and a row for each of the ``top`` trials (None: of all), the best first.

    The last columns are the parameters that vary.
    """
    names = shorten_names(list_varied_parameters(data))
    headings = ["trial", "state", *_list_value_headings(data), "steps", "time"]
    head = [Cell(heading, "bold", right=heading != "state") for heading in headings]
    rows = [
        [*_build_cells(trial, data), *(Cell(_show_parameter(trial, name)) for name in names)]
        for trial in data.ranked[:top]
    ]
    return [[*head, *(Cell(name, "bold") for name in names.values())], *rows]


def _show_parameter(trial: TrialRecord, name: str) -> str:
    return format_short(trial.params[name]) if name in trial.params else ""


def format_sweep(data: SweepData, *, width: int, top: int) -> str:
    """Return a sweep as text: its best trials, and the counts.

    Args:
        data: The sweep.
        width: The most characters in a line.
        top: How many trials to show.
    """
    out = Console(file=io.StringIO(), width=width, highlight=False, soft_wrap=False)
    print_leaderboard(data, out, top=top)
    out.print(format_progress(data, data.cap), markup=False, soft_wrap=True)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().rstrip()


def _list_value_headings(data: SweepData) -> list[str]:
    """Return the headings of the columns that ``_list_row_values`` fills: a value, its step, and the last value."""
    spec = data.spec
    if spec.metric is None:
        return [show_name(metric.name) for metric in spec.metrics] or ["value"]
    name = show_name(spec.metric.name)
    own = [name, "step", "last"] if data.value_rule == "best" else [f"last {name}", "step"]
    return [*own, *(["mean"] if spec.repeats else [])]


def _list_row_values(trial: TrialRecord, data: SweepData) -> list[float | None]:
    values: list[float | None] = [*data.list_values(trial)]
    if data.spec.metric:
        values += [data.find_step(trial), *([trial.last] if data.value_rule == "best" else [])]
    if data.spec.repeats:
        configuration = data.find_configuration(trial)
        values.append(configuration.mean if configuration else None)
    return values


def _build_cells(trial: TrialRecord, data: SweepData) -> list[Cell]:
    values = _list_row_values(trial, data)
    time = "" if trial.duration_s is None else f"{trial.duration_s:.1f}s"
    numbers = [*map(format_short, values), str(len(trial.reports)), time]
    return [
        Cell(str(trial.number), right=True),
        Cell(describe_state(trial, data), _STYLES.get("stopped" if data.is_infeasible(trial) else trial.state, "dim")),
        *(Cell(number, right=True) for number in numbers),
    ]


def describe_state(trial: TrialRecord, data: SweepData) -> str:
    """Return a trial's state as tables show it: ``finished``, or ``finished, infeasible``."""
    return f"{trial.state}, infeasible" if data.is_infeasible(trial) else trial.state


def lay_out_row(row: Sequence[Cell], widths: Sequence[int]) -> Iterator[Text]:
    """Yield a row's lines: more than one if the last cell is wider than its column. No line ends in blanks."""
    *cells, last = row
    line = Text()
    for cell, width in zip(cells, widths, strict=False):
        blanks = " " * (width - cell_len(cell.text))
        line.append(blanks if cell.right else "").append(cell.text, cell.style)
        line.append(" " * _GAP if cell.right else blanks + " " * _GAP)
    first, *others = textwrap.wrap(last.text, widths[-1], break_on_hyphens=False) or [""]
    line.append(first, last.style).rstrip()
    yield line
    for text in others:
        yield Text(" " * (sum(widths[:-1]) + _GAP * len(cells)) + text, last.style)


def list_varied_parameters(data: SweepData) -> list[str]:
    """Return the names of the parameters that can differ between trials, that of ``repeats`` last."""
    varied = [name for name, p in data.spec.parameters.items() if p.distribution != "constant"]
    return [*varied, data.spec.repeats.parameter] if data.spec.repeats else varied


def shorten_names(names: Sequence[str]) -> dict[str, str]:
    """Return the shortest ending of each dotted name that no other name has: ``lr`` for ``optimizer.lr``."""
    endings = {name: [name.split(".", depth)[-1] for depth in range(name.count("."), -1, -1)] for name in names}
    uses = Counter(ending for own in endings.values() for ending in own)
    return {name: next(end for end in own if uses[end] == 1 or end == name) for name, own in endings.items()}


def format_short(value: Any) -> str:
    """Return a value as tables show it: floats to five digits."""
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def format_progress(data: SweepData, total: int | None) -> str:
    """Return the progress line: ``12/30 trials · 10 finished · 2 running · best val/loss 0.1 (trial 7)``."""
    ended = sum(n for state, n in data.counts.items() if state not in ("running", "queued"))
    parts = [f"{ended}/{total} trials" if total else pluralize(ended, "trial")]
    parts += [f"{count} {state}" for state, count in data.counts.items()]
    if infeasible := sum(map(data.is_infeasible, data.trials)):
        parts.append(f"{infeasible} infeasible")
    if data.spec.metrics:
        parts.append(f"{len(data.front)} on the Pareto front")
    elif data.best is not None:
        parts.append(f"best {format_achieved(data, data.best)} (trial {data.best.number})")
    return " · ".join(parts)


def format_achieved(data: SweepData, trial: TrialRecord) -> str:
    """Return the values of a trial with the names of their metrics: ``val/loss 0.1``."""
    spec = data.spec
    if spec.metrics:
        return ", ".join(
            f"{show_name(metric.name)} {format_short(trial.metrics.get(metric.name))}" for metric in spec.metrics
        )
    name = show_name(spec.metric.name) if spec.metric else "value"
    configuration = data.find_configuration(trial)
    if configuration is None or configuration.mean is None:
        return f"{name} {format_short(trial.value)}"
    spread = "" if configuration.deviation is None else f" ± {format_short(configuration.deviation)}"
    runs = len(configuration.values)
    return f"{name} {format_short(configuration.mean)}{spread}, the mean of {pluralize(runs, 'run')}"


def describe_achieved(data: SweepData, trial: TrialRecord) -> str:
    """Return a trial's value with its step and the last one: ``val/loss 0.1 at step 11 of 19, last 0.2``."""
    achieved, step = format_achieved(data, trial), data.find_step(trial)
    if step is None or data.spec.metric is None:
        return achieved
    if data.find_configuration(trial) is not None:  # a mean has no step
        return f"{achieved}, each with its {data.value_rule} value"
    if step == max(trial.reports):
        return f"{achieved} at step {step}, its last"
    return f"{achieved} at step {step} of {max(trial.reports)}, last {format_short(trial.last)}"


def print_best(data: SweepData, out: Console) -> None:
    """Print the best trial, or each on the Pareto front: its parameters, and the command that trains it again."""
    if not data.winners:
        out.print(explain_no_best(data), markup=False, soft_wrap=True)
    for trial in data.winners:
        out.print(f"[bold]Best[/bold]: trial {trial.number}, {escape(describe_achieved(data, trial))}", soft_wrap=True)
        if checkpoint := data.find_checkpoint(trial):
            out.print(f"Checkpoint of step {data.find_step(trial)}: {escape(str(checkpoint))}", soft_wrap=True)
        for parameter, value in trial.params.items():
            shown = repr(value) if isinstance(value, str) else str(value)
            out.print(f"  {escape(parameter)} = {escape(shown)}", soft_wrap=True)
        if command := data.command(trial):
            out.print("Train it again:")
            out.print(f"  {escape(command)}", soft_wrap=True)
            for line in describe_retraining(data, trial):
                out.print(escape(line), soft_wrap=True)
    if doubt := describe_doubt(data):
        out.print(escape(doubt), soft_wrap=True)


def explain_no_best(data: SweepData, lacks_value: str = "No trial has a value yet.") -> str:
    """Say why a sweep with a metric has no best trial; ``lacks_value`` if its trials have no value."""
    closest = data.closest_to_feasible
    if closest is None:
        return lacks_value
    reason = data.spec.describe_infeasibility(closest)
    return f"No trial meets metric.constraints. The closest is trial {closest.number}: {reason}."


def describe_retraining(data: SweepData, trial: TrialRecord) -> list[str]:
    """Return lines on what training ``trial`` again gives; none for a trial that was interrupted.

    An interrupted training need not equal one without interruption. There are none either if Hydra did not start the
    sweep, since then no command trains it again.
    """
    if data.spec.metric is None or trial.value is None or trial.starts > 1 or data.command(trial) is None:
        return []
    value, step = f"{show_name(data.spec.metric.name)} {format_short(trial.value)}", data.find_step(trial)
    if trial.state not in ("stopped", "frozen") or step is None:
        when = "at its end" if step is None else f"at step {step}"
        return [f"If the training is seeded, it has {value} {when} again."]
    lines = [
        f"If the training is seeded, it has {value} at step {step} again. It does not end there: it trains as long as "
        f"the trials that finished, but the sweep stopped this one at step {max(trial.reports)}."
    ]
    if finished := find_finished_best(data):
        lines += [
            f"The best that finished is trial {finished.number}, {describe_achieved(data, finished)}. Train it again:",
            f"  {data.command(finished)}",
        ]
    return lines
