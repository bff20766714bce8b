"""``open_sweep``: a sweep's trials, during and after it."""

from __future__ import annotations

import math
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.search.make import find_cap
from wandbsweep.search.pareto import front
from wandbsweep.search.repeats import Configuration, configurations
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.resume import run_overrides
from wandbsweep.trial import STATES, State, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

    from wandbsweep.results.analysis.convergence import Convergence
    from wandbsweep.results.analysis.correlation import Correlation
    from wandbsweep.results.analysis.importance import Importance
    from wandbsweep.results.analysis.savings import Savings
    from wandbsweep.results.reader import Stored


@dataclass(frozen=True)
class SweepResults:
    """A sweep as it stood when it was read."""

    directory: Path
    spec: SweepSpec
    trials: Sequence[TrialRecord]
    """Every trial ever asked for, by number."""
    plan: LaunchRecord | None = None
    """How its trials are run; None: not by Hydra (``create_sweep`` alone)."""
    stored: Stored | None = field(default=None, repr=False, compare=False)
    """What else stood in the store; None: they were not read from one."""

    @property
    def sweep_id(self) -> str:
        return self.plan.sweep_id if self.plan else self.directory.name

    @cached_property
    def cap(self) -> int | None:
        """How many trials there can be in all; None: no end, or none that is known."""
        return find_cap(self.spec, self.plan.axes if self.plan else None)

    @property
    def counts(self) -> dict[State, int]:
        """How many trials are in which state; states without any are left out."""
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def ranked(self) -> list[TrialRecord]:
        """The trials by value, the best first, those without one last.

        Of several metrics: the front first. With ``repeats``: by configuration, as in ``configurations``. Without a
        metric: by number.
        """
        if not has_goal(self.spec):
            return list(self.trials)
        if self.spec.metrics:
            front = {trial.number for trial in self.front}
            return sorted(self.trials, key=lambda trial: (trial.number not in front, trial.number))
        if self.spec.repeats:
            grouped = [run for configuration in self.configurations for run in configuration.runs]
            return [*grouped, *(trial for trial in self.trials if not trial.params)]
        return sorted(self.trials, key=lambda trial: (self._loss(trial.value), trial.number))

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the best value of those that finished or were stopped; of equals, the first.

        None without a metric: nothing says whether more or less is better. Of a sweep with ``repeats``: the best
        configuration's first run that has one. Of one with several metrics: the first of the ``front``.
        """
        if not has_goal(self.spec):
            return None
        if self.spec.metrics:
            return next(iter(self.front), None)
        if self.spec.repeats:
            return next((c.first for c in self.configurations if c.mean is not None), None)
        ended = (t for t in self.ranked if t.state in ("finished", "stopped") and t.value is not None)
        return next(ended, None)

    @cached_property
    def front(self) -> list[TrialRecord]:
        """Of a sweep with several metrics, the trials that no other one beats in all of them, by number."""
        return front(self.trials, self.spec.metrics)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Of a sweep with ``repeats``, the configurations: those with the most seeds first, of these by their means.

        A small space is gone through again: what has more runs than there are seeds is no better for it.
        """
        if self.spec.repeats is None:
            return []
        found = configurations(self.trials, self.spec.repeats)
        whole = len(self.spec.repeats.values)
        return sorted(found, key=lambda c: (-min(len(c.values), whole), self._loss(c.mean)))

    def configuration_of(self, trial: TrialRecord) -> Configuration | None:
        """Of a sweep with ``repeats``, the configuration that ``trial`` is a run of."""
        return self._configuration_by_run.get(trial.number)

    @cached_property
    def _configuration_by_run(self) -> dict[int, Configuration]:
        return {run.number: configuration for configuration in self.configurations for run in configuration.runs}

    def _loss(self, value: float | None) -> float:
        if value is None:
            return math.inf
        return -value if self.spec.goal == "maximize" else value

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per trial ever asked for; needs pandas (``pip install 'wandbsweep[analysis]'``).

        Columns: number, state, metric (the trial's value), steps (reports), duration_s, attempts, ``params.*``,
        ``metrics.*`` (last values).
        """
        from wandbsweep.results.frames import trials_frame

        return trials_frame(self)

    @cached_property
    def histories(self) -> pd.DataFrame:
        """What the trials reported, long: a row per report, with ``number``, ``step`` and ``value`` of the metric."""
        from wandbsweep.results.frames import histories_frame

        return histories_frame(self)

    def export(self, file: str | os.PathLike[str], *, histories: bool = False) -> Path:
        """Write ``frame``, or ``histories``, to a ``.csv``, ``.jsonl`` or ``.parquet`` file."""
        from wandbsweep.results.frames import export

        return export(self, file, histories=histories)

    def importance(self, metric: str | None = None, *, method: str | None = None) -> Importance:
        """How much of ``metric`` (None: the sweep's own) follows from each parameter: ``analysis.importance``."""
        from wandbsweep.results.analysis.importance import importance
        from wandbsweep.results.analysis.trial_matrix import gather

        return importance(gather(self, metric), method=method)

    def correlation(self, metric: str | None = None) -> Correlation:
        """How each parameter goes along with ``metric``, by value and by rank: ``correlation.correlation``."""
        from wandbsweep.results.analysis.correlation import correlation
        from wandbsweep.results.analysis.trial_matrix import gather

        return correlation(gather(self, metric))

    def converged(self, *, patience: int = 20) -> Convergence:
        """Whether to stop searching, with the reasons: ``convergence.convergence``. True where it is time."""
        from wandbsweep.results.analysis.convergence import convergence

        return convergence(self, patience=patience)

    def savings(self) -> Savings:
        """What early termination saved, and what it may have cost: ``savings.savings``."""
        from wandbsweep.results.analysis.savings import savings

        return savings(self)

    def narrow(self, top: float = 0.2) -> SweepSpec:
        """The next sweep: ranges narrowed to where the best ``top`` of the trials are: ``narrowing.narrow``."""
        from wandbsweep.results.narrowing.narrow import narrow

        return narrow(self, top=top).spec

    def overrides(self, trial: TrialRecord) -> list[str]:
        """The Hydra overrides that compose ``trial``'s configuration."""
        from wandbsweep.sweep.override_strings import format_overrides, is_sweep_key

        lines = format_overrides(self.plan.slots if self.plan else [], trial.params)
        return [line for line in lines if not (self.plan and self.plan.strip and is_sweep_key(line))]

    def command(self, trial: TrialRecord) -> str:
        """The shell command that trains ``trial``'s configuration again, outside the sweep."""
        start = self.plan.command if self.plan else ["python", "train.py"]
        own = run_overrides(self.plan) if self.plan else []
        return shlex.join([*start, *self.overrides(trial), *own])

    def trial_directory(self, trial: TrialRecord) -> Path:
        return self.directory / str(trial.number)


def has_goal(spec: SweepSpec) -> bool:
    """Whether it says what is better."""
    return spec.metric is not None or bool(spec.metrics)


def open_sweep(ref: str | os.PathLike[str]) -> SweepResults:
    """Read the sweep that ``ref`` names: a directory, an id below ``outputs/`` of the working directory, ``URL#id``, or
    ``wandb:entity/project/id``.

    ``URL`` is that of a database, in which ``${oc.env:NAME}`` may name an environment variable. Raises
    SweepDirectoryError where there is none, naming some that there are, and where one is damaged.
    """
    from wandbsweep.results.reader import SweepReader

    return SweepReader(ref).read()


def as_json(results: SweepResults, trial: TrialRecord) -> dict[str, Any]:
    """What ``--json`` prints of one trial; values that JSON has no number for are null."""
    own = results.configuration_of(trial)
    repeated = {"mean": own.mean, "deviation": own.deviation, "runs": [run.number for run in own.runs]} if own else {}
    return {
        "number": trial.number,
        "state": trial.state,
        "metric": trial.value,
        "metric_name": results.spec.metric.name if results.spec.metric else None,
        "params": dict(trial.params),
        "metrics": _finite(trial.metrics),
        "overrides": results.overrides(trial),
        "directory": str(results.trial_directory(trial)),
        "steps": len(trial.reports),
        "duration_s": trial.duration_s,
        "attempts": trial.attempts,
        "agent": trial.agent,
        "reason": trial.reason,
        **repeated,
    }


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
