"""The searches that are compared, each behind the same two methods (`clock.Searcher`)."""

from __future__ import annotations

import json
import math
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from clock import Searcher
from tables import EPOCHS, Task

from wandbsweep.search.bayes.model import suggest
from wandbsweep.trial import TrialRecord

HERE = Path(__file__).parent


class Random:
    def __init__(self, task: Task, seed: int) -> None:
        self.parameters, self.rng = task.spec().parameters, np.random.default_rng(seed)

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]:
        return {name: p.ppf(self.rng.random()) for name, p in self.parameters.items()}

    def end(self, record: TrialRecord) -> None:
        pass


class Ours:
    def __init__(self, task: Task, seed: int, early_terminate: dict[str, Any] | None = None) -> None:
        self.spec, self.seed = task.spec(early_terminate), seed

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]:
        return suggest(self.spec, records, rng=np.random.default_rng((self.seed, len(records))))

    def end(self, record: TrialRecord) -> None:
        pass


class Optuna:
    """Optuna through ask, report and tell; a stopped trial is reported as pruned, as Optuna's users do."""

    def __init__(self, task: Task, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        self.parameters = task.spec().parameters
        direction = "maximize" if task.goal == "maximize" else "minimize"
        self.study = optuna.create_study(sampler=sampler, direction=direction)
        self.space = {name: self._distribution(p) for name, p in self.parameters.items()}
        self.trials: dict[int, Any] = {}
        self.states = optuna.trial.TrialState

    @staticmethod
    def _distribution(p: Any) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if p.values:
            return CategoricalDistribution(p.values)
        if p.distribution == "q_log_uniform_values":
            return IntDistribution(int(p.min), int(p.max), log=True)
        if p.distribution == "int_uniform":
            return IntDistribution(p.min, p.max)
        return FloatDistribution(p.min, p.max, log=p.distribution.startswith("log_"))

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]:
        trial = self.study.ask(self.space)
        self.trials[len(records)] = trial
        return dict(trial.params)

    def end(self, record: TrialRecord) -> None:
        trial = self.trials[record.number]
        if record.state == "stopped":
            for step, value in record.reports.items():
                trial.report(value, step)
            self.study.tell(trial, state=self.states.PRUNED)
        elif record.value is None:
            self.study.tell(trial, state=self.states.FAIL)
        else:
            self.study.tell(trial, record.value)


class WandB:
    """W&B's engine, PyPI `sweeps` 0.3.0, in a separate Python (`--wandb-python`), connected by a pipe."""

    def __init__(self, task: Task, seed: int, python: str) -> None:
        self.process = subprocess.Popen(
            [python, str(HERE / "wandb_engine.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send({"config": task.mapping(), "seed": seed})
        self.sign = 1.0

    def _send(self, message: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def ask(self, records: list[TrialRecord]) -> dict[str, Any]:
        state = {"stopped": "finished"}
        self._send(
            [
                {
                    "state": state.get(r.state, r.state),
                    "params": dict(r.params),
                    # The engine uses the best of a run's history, so the best and the last value are enough.
                    "history": [v for v in (r.value, r.history[-1] if r.history else None) if _finite(v)],
                }
                for r in records
            ]
        )
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self, record: TrialRecord) -> None:
        if record.state == "failed":
            return

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def make(name: str, task: Task, seed: int, *, early_terminate: dict[str, Any] | None, python: str | None) -> Searcher:
    if name == "random":
        return Random(task, seed)
    if name == "ours":
        return Ours(task, seed, early_terminate)
    if name == "wandb":
        assert python
        return WandB(task, seed, python)
    import optuna

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if name == "tpe":
        return Optuna(task, optuna.samplers.TPESampler(seed=seed))
    if name == "optuna-gp":
        import torch

        torch.set_num_threads(1)
        return Optuna(task, optuna.samplers.GPSampler(seed=seed))
    raise ValueError(f"The searcher is {name}, but must be one of random, ours, tpe, optuna-gp, wandb")


__all__ = ["EPOCHS", "make"]
