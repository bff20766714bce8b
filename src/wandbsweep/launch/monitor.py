"""Live progress of a sweep in the terminal that launched it: a bar, the panel of ``status --watch``, or plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from wandbsweep.errors import SweepError
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.text import pluralize, show_name
from wandbsweep.trial import ENDED, TrialRecord

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PREFIX = "wandbsweep: "
"""What each line on a terminal begins with, to tell it from the trainings' own output. Elsewhere lines begin with
``agent 0``, ``trial 0`` or ``1/24 trials``, as scripts that read them expect."""

_POLL_S = 0.5
_QUIET_S = 60.0
"""The least time between two lines on the progress of running trials, if there is no terminal to redraw a line in."""
_RUNNING_SHOWN = 8

Describe = Callable[[SweepData], Sequence[str]]
"""Returns lines about a sweep's present state."""


@dataclass
class Monitor:
    """Shows the progress of a sweep on stderr."""

    read: Callable[[], SweepData]
    """Reads the sweep's present state."""
    total: int | None
    """How many trials there will be; None: unknown."""
    find_notes: Describe = lambda data: ()
    """Finds notes that were not shown yet; each is shown once, above the progress."""
    find_status: Describe = lambda data: ()
    """Finds lines that only the panel shows, such as that the sweep is paused."""
    has_terminal: bool = False
    """Whether the trials write elsewhere, so that there is room for the panel. If not, progress is one line."""
    console: Console | None = None
    stream: TextIO | None = None
    """Where to write; None: stderr."""
    done: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Event = field(default_factory=threading.Event)
    """Set when lines can be shown: by then the terminal's output is redirected, if it is redirected at all."""
    _started: dict[int, int] = field(default_factory=dict)
    """By trial, how many starts were shown (``TrialRecord.starts``)."""
    _ended: dict[int, int] = field(default_factory=dict)
    """By trial, how many of them were shown as ended."""

    @contextmanager
    def show(self) -> Iterator[None]:
        """Show the progress for the duration of a ``with`` block."""
        self.stream = self.stream or sys.stderr  # a training may put another in its place
        draw = self.print_lines
        if self.stream.isatty():
            draw = self.draw_picture if self.has_terminal else self.draw_bar

        def run() -> None:
            try:
                draw()
            finally:
                self._ready.set()

        thread = threading.Thread(target=run, name="wandbsweep-monitor", daemon=True)
        thread.start()
        self._ready.wait()
        try:
            yield
        finally:
            self.done.set()
            thread.join()

    def say(self, line: str) -> None:
        """Print a line at once."""
        if self.console is not None:
            self.console.print(f"{PREFIX}{line}", markup=False, highlight=False, soft_wrap=True)
        else:
            print_line(line, self.stream or sys.stderr)

    def print_lines(self) -> None:
        """Print a line for each start and end of a trial, the counts, and regularly the progress of running trials."""
        from wandbsweep.results.terminal.tables import format_progress

        quiet_until, said = 0.0, ""
        for data in self._poll():
            if self._say_ends(data):
                self.say(format_progress(data, self.total))
                self._say_notes(data)
            self._say_starts(data)
            progress = "; ".join(describe_running(trial, data) for trial in _list_reporting(data))
            if progress and progress != said and time.monotonic() >= quiet_until:
                self.say(progress)
                quiet_until, said = time.monotonic() + _QUIET_S, progress

    def draw_bar(self) -> None:
        """Draw a progress bar, and a line for each running trial, which the trials' own output scrolls past."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column
        from rich.text import Text

        from wandbsweep.results.terminal.tables import format_progress

        lines: list[str] = []

        class ProgressOfTrials(Progress):
            def get_renderables(self) -> Iterator[RenderableType]:
                yield from (Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines)
                yield self.make_tasks_table(self.tasks)

        # In a narrow terminal the text is cut, and nothing else.
        flexible = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.console = self._make_console()
        progress = ProgressOfTrials(
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False, table_column=flexible),
            console=self.console,
            expand=True,
            refresh_per_second=4,
        )
        with progress:
            task = progress.add_task("", total=self.total)
            for data in self._poll_and_say():
                running = [trial for trial in data.trials if trial.state == "running"][:_RUNNING_SHOWN]
                lines[:] = [describe_running(trial, data, with_params=True) for trial in running]
                _, _, description = format_progress(data, self.total).partition(" · ")
                ended = sum(trial.state in ENDED for trial in data.trials)
                progress.update(task, completed=ended, description=description)

    def draw_picture(self) -> None:
        """Draw the panel of ``status --watch``, and erase it at the end."""
        from rich.live import Live

        from wandbsweep.results.terminal.watching import SweepPanel

        self.console = self._make_console()
        # What trials in this process print to a log must not be redirected to the terminal.
        own = self.stream in (None, sys.stderr)
        with Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=own,
            redirect_stderr=own,
        ) as live:
            for data in self._poll_and_say():
                live.update(SweepPanel(data, self.total, time.time(), self.find_status(data)), refresh=True)

    def _make_console(self) -> Console:
        from rich.console import Console

        return self.console or Console(file=self.stream or sys.stderr)

    def _poll(self) -> Iterator[SweepData]:
        """Yield the sweep's state now and then, and once more at the end."""
        with suppress(SweepError):  # the session reads the same state, and reports the error
            for trial in self.read().trials:
                if trial.state in ENDED:
                    self._ended[trial.number] = trial.starts
            self._ready.set()
            while not self.done.wait(_POLL_S):
                yield self.read()
            yield self.read()

    def _poll_and_say(self) -> Iterator[SweepData]:
        """Yield each state, after printing what has happened since the one before it."""
        is_first = True
        for data in self._poll():
            if self._say_ends(data) or is_first:
                self._say_notes(data)
            is_first = False
            self._say_starts(data)
            yield data

    def _say_ends(self, data: SweepData) -> bool:
        """Print a line for each trial that has ended since the last call; return whether there are any."""
        ended = [t for t in data.trials if t.state in ENDED and self._ended.get(t.number, 0) < t.starts]
        for trial in ended:
            self._ended[trial.number] = trial.starts
            self.say(f"trial {trial.number} {describe_end(trial, data)}")
        return bool(ended)

    def _say_starts(self, data: SweepData) -> None:
        """Print a line for each trial that was started, or taken up again, since the last call."""
        for trial in data.trials:
            is_new = self._started.get(trial.number, 0) < trial.starts
            if trial.state == "running" and is_new and (trial.params or not data.spec.parameters):
                self._started[trial.number] = trial.starts
                how = [f"attempt {trial.attempts}"] if trial.attempts > 1 else []
                how += [f"taken up again after step {max(trial.reports)}"] if trial.thaws and trial.reports else []
                again = f" ({', '.join(how)})" if how else ""
                self.say(f"trial {trial.number} started{again}: {format_params(trial, data)}")

    def _say_notes(self, data: SweepData) -> None:
        for note in self.find_notes(data):
            self.say(f"Note: {note}")


def _list_reporting(data: SweepData) -> list[TrialRecord]:
    """Return the first of the running trials that have reported."""
    return [trial for trial in data.trials if trial.state == "running" and trial.reports][:_RUNNING_SHOWN]


def format_params(trial: TrialRecord, data: SweepData) -> str:
    """Return a trial's parameters that can differ between trials: ``model=mlp optimizer.lr=0.003``."""
    from wandbsweep.results.terminal.tables import format_short, list_varied_parameters

    names = [name for name in list_varied_parameters(data) if name in trial.params] or trial.params
    return " ".join(f"{name}={format_short(trial.params[name])}" for name in names)


def describe_running(trial: TrialRecord, data: SweepData, *, with_params: bool = False) -> str:
    """Return how far a trial is.

    Args:
        trial: A running trial.
        data: Its sweep.
        with_params: Whether to add its parameters.

    Returns:
        ``trial 0: step 3, val/loss 0.1``.
    """
    from wandbsweep.results.terminal.tables import format_short

    parts = []
    if trial.reports:
        step = max(trial.reports)
        name = show_name(data.spec.metric.name) if data.spec.metric else "value"
        parts.append(f"step {step}, {name} {format_short(trial.reports[step])}")
    if with_params:
        parts.append(format_params(trial, data))
    return f"trial {trial.number}: {' · '.join(parts)}"


def print_line(line: str, stream: TextIO) -> None:
    """Print a line of the sweep's own."""
    print(f"{PREFIX if stream.isatty() else ''}{line}", file=stream, flush=True)


def describe_end(trial: TrialRecord, data: SweepData) -> str:
    """Return how a trial ended: ``finished: val/loss 0.1, 10 steps, 3.2s``."""
    from wandbsweep.results.terminal.tables import format_achieved, format_short

    parts = [pluralize(len(trial.reports), "step")] if trial.reports else []
    if data.spec.metrics:
        parts.insert(0, format_achieved(data, trial))
    elif trial.value is None and data.spec.metric and (trial.state == "finished" or trial.reports):
        parts.insert(0, f"no finite value of {show_name(data.spec.metric.name)}")
    elif trial.value is not None:
        name = show_name(data.spec.metric.name) if data.spec.metric else "value"
        parts.insert(0, f"{name} {format_short(trial.value)}")
    if trial.duration_s is not None:
        parts.append(f"{trial.duration_s:.1f}s")
    if trial.reason:
        parts.append(trial.reason)
    if infeasible := data.spec.describe_infeasibility(trial):
        parts.append(f"infeasible: {infeasible}")
    return f"{trial.state}: {', '.join(parts)}"
