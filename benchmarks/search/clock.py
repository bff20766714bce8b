"""A sweep on a simulated clock: asynchronous workers, whose trials take different times for each epoch."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from tables import Task

from wandbsweep import stopping
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import Goal
from wandbsweep.stopping.adaptive_halving import FIRST_IF_LEARNING, adaptive_halving
from wandbsweep.stopping.history import History, as_history
from wandbsweep.trial import TrialRecord


class Searcher(Protocol):
    """A search; `records` are all trials so far, without the one that is asked for."""

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]: ...

    def end(self, record: TrialRecord) -> None:
        """The trial has ended."""


Stopper = Callable[[list[TrialRecord], int], bool]
"""All trials, and the number of the one that has just reported -> whether it stops."""


@dataclass
class Course:
    """The results of one simulation."""

    by_trial: list[float] = field(default_factory=list)
    """Normalised regret after the 1st, 2nd, … trial that ended."""
    by_epoch: list[float] = field(default_factory=list)
    """Normalised regret after each epoch, of all workers together."""
    asks: list[float] = field(default_factory=list)
    """Seconds of real time that each ask took."""
    trials: int = 0


def simulate(
    task: Task,
    searcher: Searcher,
    *,
    workers: int,
    trials: int | None = None,
    epochs: int | None = None,
    stopper: Stopper | None = None,
) -> Course:
    """Simulate until `trials` have ended or `epochs` were trained, whichever is given."""
    sign = -1.0 if task.goal == "maximize" else 1.0
    records: list[TrialRecord] = []
    curves: list[tuple[np.ndarray, float]] = []
    taken: set[int] = set()
    queue: list[tuple[float, int]] = []
    course = Course()
    best = math.inf

    def ask(now: float) -> None:
        if trials is not None and len(records) >= trials:
            return
        started = time.perf_counter()
        params = searcher.ask(records)
        course.asks.append(time.perf_counter() - started)
        number = len(records)
        records.append(TrialRecord(number, "running", params))
        curves.append(task.curve(params, taken))
        heapq.heappush(queue, (now + curves[number][1], number))

    for _ in range(workers):
        ask(0.0)
    while queue and (epochs is None or len(course.by_epoch) < epochs):
        now, number = heapq.heappop(queue)
        old = records[number]
        step = len(old.reports)
        value = float(curves[number][0][step])
        reports = {**old.reports, step: value}
        if np.isfinite(value):
            best = min(best, sign * value)
        finite = [sign * v for v in reports.values() if np.isfinite(v)]
        record = TrialRecord(number, "running", old.params, reports, sign * min(finite) if finite else None)
        records[number] = record
        course.by_epoch.append(task.regret(min(best, 1e9)))
        going = step + 1 < len(curves[number][0])
        stop = stopper is not None and going and stopper(records, number)
        if not stop and going:
            heapq.heappush(queue, (now + curves[number][1], number))
            continue
        # A trial that never logged a finite number has failed: the contract of a trial's value.
        state = "failed" if not finite else "stopped" if stop else "finished"
        records[number] = TrialRecord(number, state, record.params, reports, record.value)
        searcher.end(records[number])
        course.by_trial.append(task.regret(min(best, 1e9)))
        ask(now)
    course.trials = len(records)
    return course


def hyperband(goal: Goal, *, min_iter: int = 3, eta: int = 3) -> Stopper:
    """Return `wandbsweep.stopping.hyperband` for one simulation, at every report.

    It keeps the histories, because a simulation asks a thousand times.
    """
    settings = EarlyTerminate(min_iter=min_iter, eta=eta)
    histories: dict[int, History] = {}

    def stops(records: list[TrialRecord], number: int) -> bool:
        histories[number] = as_history(records[number].history)
        return number in stopping.hyperband(settings, goal, histories, {number})

    return stops


def auto(goal: Goal, *, learns: bool = False) -> Stopper:
    """Return `early_terminate: {type: auto}` for one simulation, at every report."""
    first = FIRST_IF_LEARNING if learns else 0.0
    histories: dict[int, History] = {}

    def stops(records: list[TrialRecord], number: int) -> bool:
        histories[number] = as_history(records[number].history)
        finished = {record.number for record in records if record.state == "finished"}
        return number in adaptive_halving(goal, histories, finished, {number}, first=first)

    return stops
