"""Live progress of a sweep in the terminal that launched it: a bar, the panel of ``status --watch``, or plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wandbsweep.errors import SweepError
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.text import pluralize, show_name
from wandbsweep.trial import ENDED, TrialRecord

if TYPE_CHECKING:
    from rich.console import Console

_POLL_S = 0.5

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
    done: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def show(self) -> Iterator[None]:
        """Show the progress for the duration of a ``with`` block."""
        draw = self.print_lines
        if sys.stderr.isatty():
            draw = self.draw_picture if self.has_terminal else self.draw_bar
        thread = threading.Thread(target=draw, name="wandbsweep-monitor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.done.set()
            thread.join()

    def print_lines(self) -> None:
        """Print a line for each trial that ends, and the counts after it."""
        from wandbsweep.results.terminal.tables import format_progress

        reported = {trial.number for trial in self.read().trials if trial.state in ENDED}
        for data in self._poll():
            fresh = [trial for trial in data.trials if trial.state in ENDED and trial.number not in reported]
            for trial in fresh:
                reported.add(trial.number)
                print(f"trial {trial.number} {describe_end(trial, data)}", file=sys.stderr)
            if fresh:
                print(format_progress(data, self.total), file=sys.stderr, flush=True)
                for note in self.find_notes(data):
                    print(f"Note: {note}", file=sys.stderr, flush=True)

    def draw_bar(self) -> None:
        """Draw a progress bar in one line, which the trials' own output scrolls past."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        from wandbsweep.results.terminal.tables import format_progress

        # In a narrow terminal the text is cut, and nothing else.
        flexible = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        progress = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False, table_column=flexible),
            console=self._make_console(),
            expand=True,
            refresh_per_second=4,
        )
        with progress:
            task = progress.add_task("", total=self.total)
            for data, ended in self._poll_and_print_notes(progress.console):
                _, _, description = format_progress(data, self.total).partition(" · ")
                progress.update(task, completed=ended, description=description)

    def draw_picture(self) -> None:
        """Draw the panel of ``status --watch``, and erase it at the end."""
        from rich.live import Live

        from wandbsweep.results.terminal.watching import SweepPanel

        with Live(console=self._make_console(), auto_refresh=False, transient=True, vertical_overflow="crop") as live:
            for data, _ in self._poll_and_print_notes(live.console):
                live.update(SweepPanel(data, self.total, time.time(), self.find_status(data)), refresh=True)

    def _make_console(self) -> Console:
        from rich.console import Console

        return self.console or Console(stderr=True)

    def _poll(self) -> Iterator[SweepData]:
        """Yield the sweep's state now and then, and once more at the end."""
        with suppress(SweepError):  # the session reads the same state, and reports the error
            while not self.done.wait(_POLL_S):
                yield self.read()
            yield self.read()

    def _poll_and_print_notes(self, console: Console) -> Iterator[tuple[SweepData, int]]:
        """Yield each state, and how many trials have ended. If more have ended, print new notes first."""
        before = -1
        for data in self._poll():
            ended = sum(trial.state in ENDED for trial in data.trials)
            for note in self.find_notes(data) if ended != before else ():
                console.print(f"Note: {note}", markup=False, soft_wrap=True)
            before = ended
            yield data, ended


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
    return f"{trial.state}: {', '.join(parts)}"
