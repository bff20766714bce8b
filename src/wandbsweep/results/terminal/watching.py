"""``status --watch``: a sweep in a terminal while it runs, as a panel that is redrawn in place."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from wandbsweep.results.liveness import Liveness, describe_liveness, find_liveness
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import format_progress, format_short
from wandbsweep.text import pluralize, show_name
from wandbsweep.trial import ENDED, SUCCEEDED, is_number

_BLOCKS = "▁▂▃▄▅▆▇█"
_MAX_WIDTH = 80
_CURVE_WIDTH = 70
"""Tables have a column of curves if the panel is at least this wide."""
_BAR_WIDTH = 60
_MIN_AGENTS = 3
_BEST_SHOWN = 5
_RECENT_TRIALS = 20
"""The remaining time follows from how long this many trials took."""


@dataclass(frozen=True)
class SweepPanel:
    """The state of a sweep, as a rich renderable: as wide as the terminal up to 80 columns, and no higher than it."""

    data: SweepData
    total: int | None
    """How many trials there can be; None if it is unlimited or unknown."""
    now: float
    """Unix time, in seconds."""
    notes: Sequence[str] = ()
    """Lines for the user. If there are any, no agent works, and no remaining time is shown."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(_MAX_WIDTH, options.max_width)
        summary = list(self._build_summary(width))
        best = _build_best_table(self.data, width)
        used = sum(len(console.render_lines(part, options.update(width=width), pad=False)) for part in summary)
        # The cursor takes one line; each table has a blank line and a heading of its own.
        room = console.size.height - 1 - used - (best.row_count + 2 if best.row_count else 0) - 2
        yield from summary
        for table in (_build_agent_table(self.data, self.now, width, max(_MIN_AGENTS, room)), best):
            if table.row_count:
                yield Text()
                yield table

    def _build_summary(self, width: int) -> Iterator[Text]:
        data, total = self.data, self.total
        yield Text(format_headline(data), "bold")
        yield Text(format_progress(data, total))
        if total:
            yield _draw_bar(sum(trial.state in ENDED for trial in data.trials) / total, width)
        if not self.notes and (remaining := describe_remaining(data, total)):
            yield Text(remaining, "dim")
        if curve := _compute_best_so_far(data):
            first, last = format_short(curve[0]), format_short(curve[-1])
            room = width - len(f"best so far {first}  {last}")
            yield Text(f"best so far {first} {draw_sparkline(curve, max(1, min(40, room)))} {last}")
        for note in self.notes:
            yield Text(note, "yellow")


def format_headline(data: SweepData) -> str:
    """Return which sweep it is, and what it optimizes."""
    spec = data.spec
    goal = "".join(f", {metric.goal} {show_name(metric.name)}" for metric in spec.objectives)
    return f"{data.sweep_id}: {spec.method} over {pluralize(len(spec.parameters), 'parameter')}{goal}"


def describe_remaining(data: SweepData, total: int | None) -> str:
    """Return an estimate of the remaining time: from the last trials' durations and the number of running agents.

    Empty if the sweep has no known end, or nothing has ended yet, or nothing runs, or trials may be taken up again.
    """
    ended = [t for t in data.trials if t.state in ENDED and t.duration_s is not None]
    agents = {t.agent for t in data.trials if t.state == "running"}
    if total is None or not ended or not agents or "frozen" in data.counts:
        return ""
    left = total - sum(t.state in ENDED for t in data.trials)
    recent = sorted(ended, key=lambda t: t.ended or 0.0)[-_RECENT_TRIALS:]
    each = statistics.fmean(t.duration_s or 0.0 for t in recent)
    basis = f"the last {pluralize(len(recent), 'trial')} took {format_duration(each)} each"
    return f"about {format_duration(left * each / len(agents))} left ({basis}, {pluralize(len(agents), 'agent')})"


def _draw_bar(share: float, width: int) -> Text:
    """Return a progress bar. Rich's own ends without a line break, so that what follows it is cut off."""
    whole = min(_BAR_WIDTH, width - len(" 100%"))
    done = min(whole, int(share * whole))
    return Text.assemble(("━" * done, "green"), ("━" * (whole - done), "bright_black"), f" {share:4.0%}")


def draw_sparkline(values: Sequence[float], width: int = 16) -> str:
    """Return the values as a row of at most ``width`` blocks, evenly thinned out; NaN and infinities are left out.

    >>> draw_sparkline([0, 1, 2, 3, 4, 5, 6, 7])
    '▁▂▃▄▅▆▇█'
    >>> draw_sparkline([1.0, 1.0, float("nan")])
    '▄▄'
    """
    known = [value for value in values if is_number(value)]
    if len(known) > width:
        known = [known[round(i * (len(known) - 1) / (width - 1))] for i in range(width)]
    if not known:
        return ""
    low, high = min(known), max(known)
    if high == low:
        return _BLOCKS[3] * len(known)
    return "".join(_BLOCKS[min(7, int(8 * ((value - low) / (high - low))))] for value in known)


def _compute_best_so_far(data: SweepData) -> list[float]:
    """Return the best value after each trial that ended; empty if there are fewer than two."""
    if not data.spec.metric:
        return []
    ended = (trial.value for trial in data.trials if trial.state in SUCCEEDED and not data.is_infeasible(trial))
    values = [value for value in ended if value is not None]
    return list(accumulate(values, max if data.spec.goal == "maximize" else min)) if len(values) > 1 else []


def _build_agent_table(data: SweepData, now: float, width: int, most: int) -> Table:
    """Return a table of at most ``most`` agents that run a trial, with how far each trial is."""
    has_curves = width >= _CURVE_WIDTH
    table = _make_table("agent", "trial", "step", "for", "value", *(["curve"] if has_curves else []))
    running = sorted((t for t in data.trials if t.state == "running"), key=lambda t: (len(t.agent), t.agent))
    shown = running if len(running) <= most else running[: most - 1]
    for trial in shown:
        history = trial.history
        cells = [
            _cut(trial.agent, 14 if has_curves else 8),
            f"{trial.number}" if trial.attempts == 1 else f"{trial.number} ({trial.attempts}.)",
            str(max(trial.reports)) if trial.reports else "-",
            "" if trial.resumed is None else format_duration((trial.worked_s or 0.0) + max(0.0, now - trial.resumed)),
            format_short(history[-1]) if history else "-",
        ]
        table.add_row(*cells, *([draw_sparkline(history)] if has_curves else []))
    if len(shown) < len(running):
        table.add_row("…", f"{len(running) - len(shown)} more")
    return table


def _build_best_table(data: SweepData, width: int) -> Table:
    has_curves = width >= _CURVE_WIDTH
    name = show_name(data.spec.metric.name) if data.spec.metric else "value"
    table = _make_table("best", "state", _cut(name, 16), "step", "last", "steps", *(["curve"] if has_curves else []))
    if not data.spec.objectives:
        return table
    ended = [t for t in data.ranked if t.state in SUCCEEDED and not data.is_infeasible(t)]
    for trial in ended[:_BEST_SHOWN]:
        values = ", ".join(map(format_short, data.list_values(trial)))
        reached = [format_short(data.find_step(trial)), format_short(trial.last)] if data.spec.metric else ["-", "-"]
        cells = [str(trial.number), trial.state, values, *reached, str(len(trial.reports))]
        table.add_row(*cells, *([draw_sparkline(trial.history)] if has_curves else []))
    return table


def _make_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        left = column in ("agent", "state", "curve")
        table.add_column(column, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    return table


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def format_duration(seconds: float) -> str:
    """Return a duration in one or two units.

    >>> format_duration(4.2), format_duration(75), format_duration(7300), format_duration(200000)
    ('4.2 s', '1 min 15 s', '2 h 1 min', '2.3 days')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 172800:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 86400:.1f} days"


# -- Following a sweep to its end ----------------------------------------------------------------------------------


def watch(read: Callable[[], SweepData], console: Console, *, every_s: float) -> None:
    """Redraw the ``SweepPanel`` in place until the sweep has ended; the last one stays.

    Args:
        read: Returns the sweep as it is now.
        console: Where to draw.
        every_s: Seconds between two readings.
    """
    from rich.live import Live

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for data, liveness in _poll(read, every_s):
            panel = SweepPanel(data, data.cap, time.time(), describe_liveness(data, liveness))
            live.update(panel, refresh=True)


def follow(read: Callable[[], SweepData], *, every_s: float) -> Iterator[tuple[SweepData, Liveness | None]]:
    """Yield the sweep whenever it has changed, until it has ended; for output in lines."""
    before = None
    for data, liveness in _poll(read, every_s):
        now = (data.trials, liveness and (liveness.command, liveness.completion, liveness.is_alive))
        if now != before:
            yield data, liveness
        before = now


def _poll(read: Callable[[], SweepData], every_s: float) -> Iterator[tuple[SweepData, Liveness | None]]:
    """Yield the sweep every ``every_s`` seconds, until nothing more can happen in it."""
    while True:
        data = read()
        liveness = find_liveness(data)
        yield data, liveness
        if not is_unfinished(data, liveness):
            return
        time.sleep(every_s)


def is_unfinished(data: SweepData, liveness: Liveness | None) -> bool:
    """Return whether a trial is open, or an agent is alive that will ask for another one."""
    if {"running", "queued"} & data.counts.keys():
        return True
    if liveness is None or liveness.completion:
        return False
    return liveness.is_alive or not data.trials  # without trials: its first agents may wait in a cluster's queue
