"""A sweep in a terminal while it runs: one picture of 80 columns that is drawn again in place."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wandbsweep.results.liveness import Attendance, attendance, describe
from wandbsweep.results.sweep_data import SweepData, has_goal
from wandbsweep.results.terminal.tables import short, state_line
from wandbsweep.text import pluralize
from wandbsweep.trial import ENDED, TrialRecord, is_number

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderResult

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 80
_WIDE = 70
"""From here on tables have curves as well."""
_BAR = 60
_LEAST_AGENTS = 3
_RECENT = 20
_BEST = 5


class Eta(NamedTuple):
    """When a sweep will be over, as far as can be told."""

    seconds: float
    basis: str


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """The values as a row of blocks, one for each of ``width`` equal parts of them; nothing of what is no number.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7])
    '▁▂▃▄▅▆▇█'
    >>> sparkline([1.0, 1.0, float("nan")])
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


def eta(data: SweepData, total: int | None) -> Eta | None:
    """The time that is left: what the last trials took, over as many agents as run; None: nothing to tell it by."""
    ended = [t for t in data.trials if t.state in ENDED and t.duration_s is not None]
    running = [t for t in data.trials if t.state == "running"]
    if total is None or not ended or not running:
        return None
    left = total - sum(t.state in ENDED for t in data.trials)
    recent = sorted(ended, key=lambda t: t.ended or 0.0)[-_RECENT:]
    each = statistics.fmean(t.duration_s or 0.0 for t in recent)
    agents = len({t.agent for t in running})
    basis = f"the last {pluralize(len(recent), 'trial')} took {_time(each)} each, {pluralize(agents, 'agent')}"
    return Eta(left * each / agents, basis)


@dataclass(frozen=True)
class Picture:
    """How the sweep stands: drawn as wide as the terminal is, up to 80 columns, and no higher."""

    data: SweepData
    total: int | None
    now: float
    remarks: Sequence[str] = ()
    """What else there is to say, in lines."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(_WIDTH, options.max_width)
        above = list(self._above(width))
        best = _leaders(self.data, width)
        taken = sum(len(console.render_lines(part, options.update(width=width), pad=False)) for part in above)
        # One line is the cursor's, and each table has a blank line and a heading.
        room = console.size.height - 1 - taken - (best.row_count + 2 if best.row_count else 0) - 2
        yield from above
        for table in (_agents(self.data, self.now, width, max(_LEAST_AGENTS, room)), best):
            if table.row_count:
                yield Text()
                yield table

    def _above(self, width: int) -> Iterator[Text]:
        data, total = self.data, self.total
        yield Text(headline(data), "bold")
        yield Text(state_line(data, total))
        if total:
            yield _bar(sum(trial.state in ENDED for trial in data.trials) / total, width)
        if not self.remarks and (expected := eta(data, total)):
            yield Text(f"about {_time(expected.seconds)} left ({expected.basis})", "dim")
        if curve := _best_so_far(data):
            first, last = short(curve[0]), short(curve[-1])
            room = width - len(f"best so far {first}  {last}")
            yield Text(f"best so far {first} {sparkline(curve, max(1, min(40, room)))} {last}")
        for remark in self.remarks:
            yield Text(remark, "yellow")


def headline(data: SweepData) -> str:
    """Which sweep it is, and what it looks for."""
    spec = data.spec
    metrics = [spec.metric] if spec.metric else spec.metrics
    goal = "".join(f", {metric.goal} {metric.name}" for metric in metrics)
    return f"{data.sweep_id}: {spec.method} over {pluralize(len(spec.parameters), 'parameter')}{goal}"


def _bar(share: float, width: int) -> Text:
    """A line of its own: rich's bar ends in no line break, so that what follows it is cut off."""
    whole = min(_BAR, width - len(" 100%"))
    done = min(whole, int(share * whole))
    return Text.assemble(("━" * done, "green"), ("━" * (whole - done), "bright_black"), f" {share:4.0%}")


def _best_so_far(data: SweepData) -> list[float]:
    """The best value after each trial that ended."""
    if not has_goal(data.spec) or data.spec.metrics:
        return []
    better = max if data.spec.goal == "maximize" else min
    found: list[float] = []
    for trial in data.trials:
        if trial.state in ("finished", "stopped") and trial.value is not None:
            found.append(better(found[-1], trial.value) if found else trial.value)
    return found if len(found) > 1 else []


def _agents(data: SweepData, now: float, width: int, most: int) -> Table:
    """A line per agent that has a trial, ``most`` at most: how far it is."""
    wide = width >= _WIDE
    table = _table("agent", "trial", "step", "for", "value", *(["curve"] if wide else []))
    running = sorted((t for t in data.trials if t.state == "running"), key=lambda t: (len(t.agent), t.agent))
    shown = running if len(running) <= most else running[: most - 1]
    for trial in shown:
        history = trial.history
        since = "" if trial.started is None else _time(max(0.0, now - trial.started))
        last = short(history[-1]) if history else "-"
        again = f"{trial.number}" if trial.attempts == 1 else f"{trial.number} ({trial.attempts}.)"
        step = str(max(trial.reports)) if trial.reports else "-"
        cells = [_cut(trial.agent, 14 if wide else 8), again, step, since, last]
        table.add_row(*cells, *([sparkline(history)] if wide else []))
    if len(shown) < len(running):
        table.add_row("…", f"{len(running) - len(shown)} more")
    return table


def _leaders(data: SweepData, width: int) -> Table:
    wide = width >= _WIDE
    name = data.spec.metric.name if data.spec.metric else "value"
    table = _table("best", "state", _cut(name, 16), "steps", *(["curve"] if wide else []))
    if not has_goal(data.spec):
        return table
    ended = [t for t in data.ranked if t.state in ("finished", "stopped")]
    for trial in ended[:_BEST]:
        cells = [str(trial.number), trial.state, _value(trial, data), str(len(trial.reports))]
        table.add_row(*cells, *([sparkline(trial.history)] if wide else []))
    return table


def _value(trial: TrialRecord, data: SweepData) -> str:
    if data.spec.metrics:
        return ", ".join(short(trial.metrics.get(metric.name)) for metric in data.spec.metrics)
    return short(trial.value)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        left = column in ("agent", "state", "curve")
        table.add_column(column, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    return table


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _time(seconds: float) -> str:
    """
    >>> _time(4.2), _time(75), _time(7300), _time(200000)
    ('4.2 s', '1 min 15 s', '2 h 1 min', '2.3 days')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 172800:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 86400:.1f} days"


def goes_on(data: SweepData, standing: Attendance | None) -> bool:
    """Whether there is more to come: something runs or waits, or an agent is there that will ask for more."""
    if {"running", "queued"} & data.counts.keys():
        return True
    if standing is None or standing.over:
        return False
    return standing.alive or not data.trials  # set up, and its first agents wait for a cluster


def watch(read: Callable[[], SweepData], console: Console, *, every_s: float) -> None:
    """Draw the ``Picture`` in place until there is no more to come; the last one stays."""
    from rich.live import Live

    data = read()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            standing = attendance(data)
            live.update(Picture(data, data.cap, time.time(), describe(data, standing)), refresh=True)
            if not goes_on(data, standing):
                return
            time.sleep(every_s)
            data = read()


def follow(read: Callable[[], SweepData], *, every_s: float) -> Iterator[tuple[SweepData, Attendance | None]]:
    """The sweep whenever it has changed, for who prints lines, until there is no more to come."""
    before = None
    while True:
        data = read()
        standing = attendance(data)
        now = (data.trials, standing and (standing.order, standing.over, standing.alive))
        if now != before:
            yield data, standing
        before = now
        if not goes_on(data, standing):
            return
        time.sleep(every_s)
