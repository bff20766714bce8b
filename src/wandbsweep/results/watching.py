"""A sweep in a terminal while it runs: one picture of 80 columns that is drawn again in place."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from wandbsweep.results.load import SweepResults, has_goal
from wandbsweep.results.tables import counted, short, state_line
from wandbsweep.trial import ENDED, TrialRecord, is_number

if TYPE_CHECKING:
    from rich.console import RenderableType

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 60
_AGENTS = 12
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


def eta(results: SweepResults, total: int | None) -> Eta | None:
    """The time that is left: what the last trials took, over as many agents as run; None: nothing to tell it by."""
    ended = [t for t in results.trials if t.state in ENDED and t.duration_s is not None]
    running = [t for t in results.trials if t.state == "running"]
    if total is None or not ended or not running:
        return None
    left = total - sum(t.state in ENDED for t in results.trials)
    recent = sorted(ended, key=lambda t: t.ended or 0.0)[-_RECENT:]
    each = statistics.fmean(t.duration_s or 0.0 for t in recent)
    agents = len({t.agent for t in running})
    basis = f"the last {counted(len(recent), 'trial')} took {_time(each)} each, {counted(agents, 'agent')}"
    return Eta(left * each / agents, basis)


def picture(results: SweepResults, total: int | None, *, now: float) -> RenderableType:
    """How the sweep stands, in at most 80 columns."""
    spec = results.spec
    metrics = [spec.metric] if spec.metric else spec.metrics
    goal = "".join(f", {metric.goal} {metric.name}" for metric in metrics)
    ended = sum(t.state in ENDED for t in results.trials)
    parts: list[RenderableType] = [
        Text(f"{results.sweep_id}: {spec.method} over {counted(len(spec.parameters), 'parameter')}{goal}", "bold"),
        Text(state_line(results, total)),
    ]
    if total:
        parts.append(_bar(ended / total))
    if expected := eta(results, total):
        parts.append(Text(f"about {_time(expected.seconds)} left ({expected.basis})", "dim"))
    if curve := _best_so_far(results):
        parts.append(Text(f"best so far {short(curve[0])} {sparkline(curve, 40)} {short(curve[-1])}"))
    for table in (_agents(results, now), _leaders(results)):
        if table.row_count:
            parts += [Text(), table]
    return Group(*parts)


def _bar(share: float) -> Text:
    """A line of its own: rich's bar ends in no line break, so that what follows it is cut off."""
    done = min(_BAR, int(share * _BAR))
    return Text.assemble(("━" * done, "green"), ("━" * (_BAR - done), "bright_black"), f" {share:4.0%}")


def _best_so_far(results: SweepResults) -> list[float]:
    """The best value after each trial that ended."""
    if not has_goal(results.spec) or results.spec.metrics:
        return []
    better = max if results.spec.goal == "maximize" else min
    found: list[float] = []
    for trial in results.trials:
        if trial.state in ("finished", "stopped") and trial.value is not None:
            found.append(better(found[-1], trial.value) if found else trial.value)
    return found if len(found) > 1 else []


def _agents(results: SweepResults, now: float) -> Table:
    """A line per agent that has a trial: how far it is."""
    table = _table("agent", "trial", "step", "for", "value", "curve")
    running = sorted((t for t in results.trials if t.state == "running"), key=lambda t: (len(t.agent), t.agent))
    for trial in running[:_AGENTS]:
        history = trial.history
        since = "" if trial.started is None else _time(max(0.0, now - trial.started))
        last = short(history[-1]) if history else "-"
        again = f"{trial.number}" if trial.attempts == 1 else f"{trial.number} ({trial.attempts}.)"
        step = str(max(trial.reports)) if trial.reports else "-"
        table.add_row(_cut(trial.agent, 14), again, step, since, last, sparkline(history))
    if len(running) > _AGENTS:
        table.add_row("…", f"{len(running) - _AGENTS} more", "", "", "", "")
    return table


def _leaders(results: SweepResults) -> Table:
    name = results.spec.metric.name if results.spec.metric else "value"
    table = _table("best", "state", _cut(name, 16), "steps", "curve")
    if not has_goal(results.spec):
        return table
    ended = [t for t in results.ranked if t.state in ("finished", "stopped")]
    for trial in ended[:_BEST]:
        table.add_row(
            str(trial.number), trial.state, _value(trial, results), str(len(trial.reports)), sparkline(trial.history)
        )
    return table


def _value(trial: TrialRecord, results: SweepResults) -> str:
    if results.spec.metrics:
        return ", ".join(short(trial.metrics.get(metric.name)) for metric in results.spec.metrics)
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


def watch(read: Callable[[], SweepResults], console: Console, *, every_s: float) -> None:
    """Draw ``picture`` in place until nothing runs any more; the last one stays."""
    from rich.live import Live

    results = read()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(picture(results, results.spec.run_cap, now=time.time()), refresh=True)
            if not {"running", "queued"} & results.counts.keys():
                return
            time.sleep(every_s)
            results = read()
