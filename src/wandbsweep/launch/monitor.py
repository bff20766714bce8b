"""Live progress of a sweep in the terminal that launched it: one line, or the whole picture; in a pipe, plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from wandbsweep.errors import SweepError
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.text import pluralize
from wandbsweep.trial import ENDED, TrialRecord

if TYPE_CHECKING:
    from rich.console import Console

_POLL_S = 0.5


Notes = Callable[[SweepData], Sequence[str]]
"""What there is to remark on a sweep's state, and was not yet."""


@contextmanager
def watched(
    read: Callable[[], SweepData],
    total: int | None,
    *,
    notes: Notes = lambda results: (),
    standing: Notes = lambda results: (),
    alone: bool = False,
) -> Iterator[None]:
    """Show how the sweep goes on, on stderr, for the duration of a ``with`` block. ``read`` gives its present state.

    ``alone``: whether the trials write elsewhere, so that there is room for the whole picture, ``standing`` included;
    else they share the terminal with one line. ``notes`` are said once, above.
    """
    done = threading.Event()
    show: Callable[..., None] = _lines
    if sys.stderr.isatty():
        show = partial(_picture, standing=standing) if alone else _bar
    thread = threading.Thread(target=show, args=(read, total, done, notes), name="wandbsweep-monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _changes(read: Callable[[], SweepData], done: threading.Event) -> Iterator[SweepData]:
    """The sweep's state now and then, and once more at the end."""
    with suppress(SweepError):  # whoever is watched will read the same, and say so
        while not done.wait(_POLL_S):
            yield read()
        yield read()


def _lines(
    read: Callable[[], SweepData], total: int | None, done: threading.Event, notes: Notes = lambda results: ()
) -> None:
    from wandbsweep.results.terminal.tables import format_progress

    reported = {trial.number for trial in read().trials if trial.state in ENDED}
    for results in _changes(read, done):
        fresh = [trial for trial in results.trials if trial.state in ENDED and trial.number not in reported]
        for trial in fresh:
            reported.add(trial.number)
            print(f"trial {trial.number} {describe(trial, results)}", file=sys.stderr)
        if fresh:
            print(format_progress(results, total), file=sys.stderr, flush=True)
            for note in notes(results):
                print(f"Note: {note}", file=sys.stderr, flush=True)


def _bar(
    read: Callable[[], SweepData],
    total: int | None,
    done: threading.Event,
    notes: Notes = lambda results: (),
    console: Console | None = None,
) -> None:
    from rich.console import Console
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

    progress = Progress(
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        # Alone to give way where the terminal is narrow.
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console or Console(stderr=True),
        expand=True,
        refresh_per_second=4,
    )
    with progress:
        task = progress.add_task("", total=total)
        for results, ended in _noted(_changes(read, done), notes, progress.console):
            _, _, description = format_progress(results, total).partition(" · ")
            progress.update(task, completed=ended, description=description)


def _picture(
    read: Callable[[], SweepData],
    total: int | None,
    done: threading.Event,
    notes: Notes = lambda results: (),
    console: Console | None = None,
    *,
    standing: Notes = lambda results: (),
) -> None:
    """All of ``status --watch``; it makes room for what comes after it."""
    from rich.console import Console
    from rich.live import Live

    from wandbsweep.results.terminal.watching import SweepPanel

    with Live(
        console=console or Console(stderr=True), auto_refresh=False, transient=True, vertical_overflow="crop"
    ) as live:
        for results, _ in _noted(_changes(read, done), notes, live.console):
            live.update(SweepPanel(results, total, time.time(), standing(results)), refresh=True)


def _noted(changes: Iterator[SweepData], notes: Notes, console: Console) -> Iterator[tuple[SweepData, int]]:
    """Each change, and how many trials have ended by then; whenever more have, the notes are said first."""
    before = -1
    for results in changes:
        ended = sum(trial.state in ENDED for trial in results.trials)
        for note in notes(results) if ended != before else ():
            console.print(f"Note: {note}", markup=False, soft_wrap=True)
        before = ended
        yield results, ended


def describe(trial: TrialRecord, results: SweepData) -> str:
    """How a trial ended: ``finished: val/loss 0.1, 10 steps, 3.2s``."""
    from wandbsweep.results.terminal.tables import format_achieved, format_short

    parts = [pluralize(len(trial.reports), "step")] if trial.reports else []
    if results.spec.metrics:
        parts.insert(0, format_achieved(results, trial))
    elif trial.value is None and results.spec.metric and (trial.state == "finished" or trial.reports):
        parts.insert(0, f"no finite value of {results.spec.metric.name}")
    elif trial.value is not None:
        parts.insert(0, f"{results.spec.metric.name if results.spec.metric else 'value'} {format_short(trial.value)}")
    if trial.duration_s is not None:
        parts.append(f"{trial.duration_s:.1f}s")
    if trial.reason:
        parts.append(trial.reason)
    return f"{trial.state}: {', '.join(parts)}"
