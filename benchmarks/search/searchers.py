"""The searches that are compared, each behind the same two methods (`simulation.Searcher`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np

from benchmarks.search.environments import HERE, find_python
from benchmarks.search.simulation import Searcher, Thaw
from benchmarks.search.tasks.base import Task, draw_params
from wandbsweep.search.make import make_search
from wandbsweep.search.thawing import Thawing
from wandbsweep.spec.conditions import select_active
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord

PEERS = {
    "wandb": ("wandb", "bayes"),
    "tpe": ("optuna", "tpe"),
    "optuna-gp": ("optuna", "gp"),
    "hebo": ("hebo", "hebo"),
    "smac": ("smac", "smac"),
}
"""Name -> environment, and what `peer.py` is told to be."""
SEARCHES = ("random", "ours", *PEERS)
SLOW = ("optuna-gp", "hebo", "smac")
"""An ask takes them about a second or more at fifty trials."""


class Random:
    elsewhere = 0.0

    def __init__(self, task: Task, seed: int, early_terminate: Mapping[str, Any] | None = None) -> None:
        self.parameters, self.rng = task.parameters, np.random.default_rng(seed)
        self.thawing = make_thawing(replace(task.spec(early_terminate), method="random"))

    def ask(self, records: list[TrialRecord]) -> dict[str, Any] | Thaw:
        if self.thawing and (number := self.thawing.choose(records, may_start=True)) is not None:
            return Thaw(number)
        return select_active(self.parameters, draw_params(self.parameters, self.rng))

    def end(self, record: TrialRecord) -> None:
        pass


class Ours:
    """`method: bayes` as this checkout has it."""

    elsewhere = 0.0

    def __init__(self, task: Task, seed: int, early_terminate: Mapping[str, Any] | None = None) -> None:
        spec = task.spec(early_terminate)
        self.search = make_search(spec, seed=seed)
        self.thawing = make_thawing(spec)

    def ask(self, records: list[TrialRecord]) -> dict[str, Any] | Thaw:
        if self.thawing and (number := self.thawing.choose(records, may_start=True)) is not None:
            return Thaw(number)
        return self.search.propose(len(records), records)

    def end(self, record: TrialRecord) -> None:
        pass


def make_thawing(spec: SweepSpec) -> Thawing | None:
    thaws = spec.early_terminate is not None and spec.early_terminate.type == "thaw"
    return Thawing(spec) if thaws else None


class PeerError(RuntimeError):
    """A peer failed; the message holds the end of its traceback."""


class Peer:
    """A search in a process of its own environment, which speaks JSON lines; it minimises, whatever the goal.

    One process serves many runs, because some take seconds to start.
    """

    def __init__(self, name: str) -> None:
        environment, kind = PEERS[name]
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
        self.process = subprocess.Popen(
            [str(find_python(environment)), str(HERE / "peer.py"), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads},
        )
        self.sign, self.elsewhere = 1.0, 0.0

    def start(self, task: Task, seed: int, trials: int) -> None:
        self.sign = -1.0 if task.goal == "maximize" else 1.0
        self.parameters = task.parameters
        parents_first = TopologicalSorter({p.name: [n for n, _ in p.when] for p in task.parameters.values()})
        space = [describe(task.parameters[name]) for name in parents_first.static_order()]
        # W&B's engine knows no conditions; it proposes every parameter.
        plain = {name: {k: v for k, v in rule.items() if k != "when"} for name, rule in task.space.items()}
        config = {"method": "bayes", "metric": {"name": "metric", "goal": "minimize"}, "parameters": plain}
        self._exchange({"start": {"space": space, "config": config, "seed": seed, "trials": trials}})

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]:
        proposed = self._exchange({"ask": len(records)})
        return select_active(self.parameters, proposed)

    def end(self, record: TrialRecord) -> None:
        loss = None if record.value is None else self.sign * record.value
        reports = [[step, self.sign * value] for step, value in record.reports.items() if np.isfinite(value)]
        self._exchange({"tell": record.number, "state": record.state, "loss": loss, "reports": reports})

    def close(self) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def _exchange(self, message: dict[str, Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise PeerError("the peer's process has ended") from None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError("the peer's process has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        self.elsewhere = answer["cpu"]
        return answer["answer"]


def describe(p: Parameter) -> dict[str, Any]:
    """Return what a peer needs to know of a parameter.

    Listed numbers are given as ordered to every peer that knows an order; W&B's engine reads its own format.
    """
    found: dict[str, Any] = {"name": p.name, "when": {name: list(values) for name, values in p.when}}
    if p.values:
        numbers = len(p.values) > 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in p.values)
        return found | {"kind": "ordinal" if numbers else "categorical", "values": list(p.values)}
    whole = p.distribution == "int_uniform" or p.q == 1
    kinds = ("uniform", "log_uniform_values", "q_log_uniform_values", "int_uniform")
    assert p.distribution in kinds, f"{p.name} is {p.distribution}, but the peers know {', '.join(kinds)} and values"
    found |= {"kind": "int" if whole else "float", "low": p.min, "high": p.max}
    return found | {"log": "log" in p.distribution}


_running: dict[str, Peer] = {}


def make(name: str, task: Task, seed: int, *, trials: int, early_terminate: Mapping[str, Any] | None) -> Searcher:
    """Make a search for one run.

    Args:
        name: One of `SEARCHES`.
        task: What it searches.
        seed: The run's seed.
        trials: How many trials there will be, which SMAC wants to know.
        early_terminate: The stopping rule, which ours reads.
    """
    if name == "random":
        return Random(task, seed, early_terminate)
    if name == "ours":
        return Ours(task, seed, early_terminate)
    if name not in PEERS:
        raise ValueError(f"The search is {name}, but must be one of {', '.join(SEARCHES)}")
    if name not in _running:
        _running[name] = Peer(name)
    _running[name].start(task, seed, trials)
    return _running[name]


def discard(name: str) -> None:
    """End a peer's process after an error, so that the next run starts a new one."""
    if peer := _running.pop(name, None):
        peer.close()
