"""A sweep on a simulated clock: asynchronous workers, whose trials take different times for each epoch."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.search.tasks.base import LIMIT, Evaluation, Task
from wandbsweep import stopping
from wandbsweep.search.thawing import Thawing
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import Goal, SweepSpec
from wandbsweep.stopping.adaptive_halving import FIRST_IF_LEARNING, adaptive_halving
from wandbsweep.stopping.history import History, as_history
from wandbsweep.trial import State, TrialRecord


@dataclass(frozen=True)
class Thaw:
    """An ask's answer that takes up a frozen trial again at its next epoch."""

    number: int


class Searcher(Protocol):
    """A search; `records` are all trials so far, without the one that is asked for."""

    elsewhere: float
    """Seconds of processor time that it has used in processes of its own."""

    def ask(self, records: list[TrialRecord]) -> dict[str, Any] | Thaw: ...

    def end(self, record: TrialRecord) -> None:
        """The trial has ended."""


Stopper = Callable[[list[TrialRecord], int], bool]
"""All trials, and the number of the one that has just reported -> whether it stops."""
Steps = list[tuple[int, float]]
"""What changed, and after how many trials or epochs."""


@dataclass
class Course:
    """The results of one simulation.

    The incumbent is the trial with the best value reported so far. With one report, that value may owe something to
    luck, so regret is that of the incumbent's true value.
    """

    by_trial: Steps = field(default_factory=list)
    """Regret of the incumbent after the 1st, 2nd, … trial that ended."""
    by_epoch: Steps = field(default_factory=list)
    """Regret of the incumbent's best value so far after each epoch, of all workers together: what the sweep has."""
    final: Steps = field(default_factory=list)
    """Regret of the incumbent after each epoch, had it been trained to its end: what the sweep would return."""
    asks: list[float] = field(default_factory=list)
    """Seconds of processor time that each ask took."""
    trials: int = 0
    ended: int = 0
    epochs: int = 0


def read_at(steps: Steps, budget: int) -> float:
    """Return the regret after `budget` trials or epochs."""
    return next((regret for at, regret in reversed(steps) if at <= budget), LIMIT)


def simulate(
    task: Task,
    searcher: Searcher,
    *,
    workers: int,
    seed: int,
    trials: int | None = None,
    epochs: int | None = None,
    stopper: Stopper | None = None,
    freezes: bool = False,
) -> Course:
    """Simulate until `trials` have ended or `epochs` were trained, whichever is given.

    Args:
        task: What is searched.
        searcher: The search.
        workers: How many trials run at a time.
        seed: With a trial's number it decides the trial's noise and duration, whatever the search.
        trials: How many trials there are.
        epochs: How many epochs all trials have together.
        stopper: Decides after each report whether the trial goes on.
        freezes: Whether trials that are stopped are frozen, so that an ask may take them up again.
    """
    sign = -1.0 if task.goal == "maximize" else 1.0
    records: list[TrialRecord] = []
    runs: list[Evaluation] = []
    taken: set[int] = set()
    queue: list[tuple[float, int]] = []
    course = Course()
    best, incumbent = math.inf, -1

    def note(steps: Steps, at: int, loss: float) -> None:
        regret = round(task.regret(loss), 5)
        if not steps or steps[-1][1] != regret:
            steps.append((at, regret))

    def ask(now: float) -> None:
        if trials is not None and len(records) >= trials:
            return
        started = time.process_time() + searcher.elsewhere
        answer = searcher.ask(records)
        course.asks.append(time.process_time() + searcher.elsewhere - started)
        if isinstance(answer, Thaw):
            number, old = answer.number, records[answer.number]
            assert old.state == "frozen", "only a frozen trial can be taken up again"
            records[number] = TrialRecord(number, "running", old.params, old.reports, old.value)
        else:
            number = len(records)
            records.append(TrialRecord(number, "running", answer))
            runs.append(task.evaluate(answer, np.random.default_rng((seed, number)), taken))
        heapq.heappush(queue, (now + runs[number].seconds, number))

    for _ in range(workers):
        ask(0.0)
    while queue and (epochs is None or course.epochs < epochs):
        now, number = heapq.heappop(queue)
        old, run = records[number], runs[number]
        step = len(old.reports)
        value = float(run.curve[step])
        reports = {**old.reports, step: value}
        finite = [sign * v for v in reports.values() if math.isfinite(v)]
        if finite and min(finite) < best:
            best, incumbent = min(finite), number
        record = TrialRecord(number, "running", old.params, reports, sign * min(finite) if finite else None)
        records[number] = record
        course.epochs += 1
        leader = runs[incumbent].loss if incumbent >= 0 else math.inf
        note(course.final, course.epochs, leader)
        # With one report, a trial's noise is in its value; with a curve, a checkpoint has the best value so far.
        reached = leader if task.epochs == 1 else best
        note(course.by_epoch, course.epochs, reached)
        going = step + 1 < len(run.curve)
        stop = stopper is not None and going and stopper(records, number)
        if not stop and going:
            heapq.heappush(queue, (now + run.seconds, number))
            continue
        # A trial that never logged a finite number has failed: the contract of a trial's value.
        stopped: State = "frozen" if freezes else "stopped"
        state: State = "failed" if not finite else stopped if stop else "finished"
        records[number] = TrialRecord(number, state, record.params, reports, record.value)
        searcher.end(records[number])
        course.ended += 1
        note(course.by_trial, course.ended, reached)
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


def thaw(spec: SweepSpec) -> Stopper:
    """Return `early_terminate: {type: thaw}` for one simulation."""
    rule = Thawing(spec)

    def freezes(records: list[TrialRecord], number: int) -> bool:
        return rule.is_rung(len(records[number].reports)) and rule.reason_to_freeze(number, records) is not None

    return freezes


def probe_then_finish(task: Task, *, seed: int, epochs: int, probe: int = 5, kept: int = 5) -> Course:
    """Train random configurations for `probe` epochs, as many as there are epochs for, and the best `kept` to the end.

    The one-line rule that every method with early termination should beat. The workers do not matter to it.
    """
    from benchmarks.search.tasks.base import draw_params
    from wandbsweep.spec.conditions import select_active

    sign = -1.0 if task.goal == "maximize" else 1.0
    rng = np.random.default_rng(seed)
    probe, taken = min(probe, task.epochs), set[int]()
    count = max(1, (epochs - kept * (task.epochs - probe)) // probe)
    course = Course(trials=count, ended=count, epochs=epochs)
    runs = []
    for number in range(count):
        params = select_active(task.parameters, draw_params(task.parameters, rng))
        runs.append(task.evaluate(params, np.random.default_rng((seed, number)), taken))

    def rank(run: Evaluation, upto: int) -> float:
        return float(np.where(np.isfinite(run.curve[:upto]), sign * run.curve[:upto], np.inf).min())

    finished = sorted(runs, key=lambda run: rank(run, probe))[:kept]
    chosen = min(finished, key=lambda run: rank(run, task.epochs))
    for steps in (course.by_trial, course.by_epoch, course.final):
        steps.append((epochs, round(task.regret(chosen.loss), 5)))
    return course
