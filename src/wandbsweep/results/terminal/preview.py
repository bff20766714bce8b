"""Shows what a sweep would do: its space, example trials, jobs, disk and warnings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from wandbsweep.results.terminal.tables import Cell, format_short, lay_out_row
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.successive_halving import bands
from wandbsweep.text import escape_surrogates, pluralize, show_name

_MOST_CHANGES = 20  # of a trial, that are printed
_MOST_BANDS = 5
_WIDTH = 100  # of a cell with values


@dataclass(frozen=True)
class ExampleTrial:
    """A trial that the sweep could have."""

    number: int
    params: Mapping[str, Any]
    command: Sequence[str]
    """Its overrides, or the words that start its program."""
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By key of the configuration: the value without the trial's parameters, and the value with them."""


@dataclass(frozen=True)
class Preview:
    """What a command would start."""

    spec: SweepSpec
    directory: Path
    configurations: int | None
    """How many the space has; None: unlimited, or too many to count."""
    cap: int | None
    """The most trials; None: unlimited."""
    trials: Sequence[ExampleTrial]
    relation: str
    """How the sweep's own first trials relate to these."""
    jobs: Sequence[str]
    disk: Sequence[str]
    warnings: Sequence[str]

    def dump(self) -> dict[str, Any]:
        """Return everything in plain Python objects, for JSON."""
        return {
            "sweep": self.spec.dump(),
            "directory": str(self.directory),
            "parameters": {name: parameter.config for name, parameter in self.spec.parameters.items()},
            "configurations": self.configurations,
            "cap": self.cap,
            "relation": self.relation,
            "trials": [
                {
                    "number": trial.number,
                    "params": dict(trial.params),
                    "command": list(trial.command),
                    "changes": {key: list(values) for key, values in trial.changes.items()},
                }
                for trial in self.trials
            ],
            "jobs": list(self.jobs),
            "disk": list(self.disk),
            "warnings": list(self.warnings),
        }


def print_preview(preview: Preview, out: Console) -> None:
    """Print a preview by sections."""
    spec = preview.spec
    cap = "no limit of trials" if preview.cap is None else f"at most {pluralize(preview.cap, 'trial')}"
    goals = "".join(f", {metric.goal} {show_name(metric.name)}" for metric in spec.objectives)
    _print(out, f"Preview: {spec.method} over {pluralize(len(spec.parameters), 'parameter')}{goals}, {cap}")
    _print(out, "Nothing is written, and no job is launched.")
    _print_section(out, "Space")
    _print_table(out, _list_parameter_rows(spec))
    for line in _describe_rules(preview):
        _print(out, f"  {line}")
    _print_section(out, f"{pluralize(len(preview.trials), 'example trial')} ({preview.relation})")
    for trial in preview.trials:
        _print(out, f"  trial {trial.number}: {shlex.join(trial.command)}")
        for key, (before, after) in islice(trial.changes.items(), _MOST_CHANGES):
            _print(out, f"    {key}: {before} → {after}")
        if (left := len(trial.changes) - _MOST_CHANGES) > 0:
            _print(out, f"    … and {left} more")
    for title, lines in (("Jobs", preview.jobs), ("Disk", preview.disk), ("Warnings", preview.warnings)):
        _print_section(out, title)
        for line in lines or ["none"]:
            _print(out, f"  {line}")


def describe_value(value: Any) -> str:
    """Return a value as the preview shows it: its Python form, floats in full, long ones cut."""
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def count_levels(parameter: Parameter) -> int | None:
    """Return how many values a parameter has; None: it is a constant, or has a range that is not a grid's."""
    if parameter.distribution == "constant":
        return None
    if parameter.listed is not None:
        return len(parameter.listed)
    if parameter.distribution == "int_uniform":
        return int((parameter.max or 0) - (parameter.min or 0)) + 1
    return None if parameter.continuous or parameter.grid_fault else len(parameter.grid())


def _print(out: Console, line: str) -> None:
    out.print(Text(escape_surrogates(line)), soft_wrap=True)


def _print_section(out: Console, title: str) -> None:
    out.print()
    out.print(Text(title, "bold"))


def _print_table(out: Console, rows: Sequence[Sequence[str]]) -> None:
    head, *body = rows
    used = [k for k in range(len(head)) if any(row[k] for row in body)]
    cells = [[Cell(escape_surrogates(row[k]), "bold" if row is head else "") for k in used] for row in rows]
    widths = [max(cell_len(cell.text) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        for line in lay_out_row(row, widths):
            out.print(Text("  ").append(line), soft_wrap=True)


def _list_parameter_rows(spec: SweepSpec) -> list[list[str]]:
    rows = [["parameter", "distribution", "values", "levels", "exists if"]]
    for name, parameter in spec.parameters.items():
        conditions = " and ".join(f"{parent} is {' or '.join(map(str, values))}" for parent, values in parameter.when)
        rows.append(
            [name, parameter.distribution, _describe_values(parameter), str(count_levels(parameter) or ""), conditions]
        )
    return rows


def _describe_values(parameter: Parameter) -> str:
    config = {key: value for key, value in parameter.config.items() if key not in ("distribution", "when")}
    if parameter.listed is not None:
        text = ", ".join(map(str, parameter.listed))
        if parameter.probabilities:
            text += f" with probabilities {', '.join(f'{p:g}' for p in parameter.probabilities)}"
    elif "min" in config and "max" in config and parameter.distribution.startswith(("log_", "q_log_", "inv_log_")):
        # log_uniform takes exponents, so its quantiles say more than its bounds
        text = f"{format_short(parameter.ppf(0.0))} to {format_short(parameter.ppf(1.0))}"
        text += f", median {format_short(parameter.ppf(0.5))}"
    elif "min" in config and "max" in config:
        text = f"{parameter.min} to {parameter.max}"
    else:
        text = ", ".join(f"{key} {value}" for key, value in config.items() if value is not None and key != "q")
        text += f" (90 % in {format_short(parameter.ppf(0.05))} to {format_short(parameter.ppf(0.95))})"
    if parameter.q is not None:
        text += f" in steps of {parameter.q}"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _describe_rules(preview: Preview) -> list[str]:
    """Return a line for each thing besides parameters that the sweep file says."""
    spec = preview.spec
    size = preview.configurations
    lines = []
    if size is not None:
        kind = "grid" if spec.method == "grid" else "space"
        runs = f", {size * len(spec.repeats.values)} trials with repeats" if spec.repeats else ""
        lines.append(f"{kind} size: {pluralize(size, 'configuration')}{runs}")
    lines += [f"moving together: {', '.join(group)}" for group in spec.zip]
    lines += [f"order: {spec.order}"] if spec.order != "sequential" else []
    lines += [f"constraint: {text}" for text in spec.constraints]
    lines += [f"limit: {limit}" for limit in spec.limits]
    lines += [f"repeats: {spec.repeats}"] if spec.repeats else []
    lines += [f"prior: {spec.prior}"] if spec.prior else []
    for metric in spec.objectives:
        lines += (
            [f"target: {show_name(metric.name)} {format_short(metric.target)}"] if metric.target is not None else []
        )
    if spec.early_terminate:
        lines.append(f"early termination: {_describe_stopping(spec.early_terminate)}")
    return lines


def _describe_stopping(rule: EarlyTerminate) -> str:
    if rule.type == "hyperband":
        first = list(islice(bands(rule), _MOST_BANDS + 1))
        dots = ", …" if len(first) > _MOST_BANDS else ""
        return f"hyperband, the worse trials end at reports {', '.join(map(str, first[:_MOST_BANDS]))}{dots}"
    settings = {"min_iter": rule.min_iter, "max_iter": rule.max_iter, "startup": rule.startup, "p": rule.p}
    given = [f"{key} {value}" for key, value in settings.items() if value is not None]
    return ", ".join([rule.type, *given])
